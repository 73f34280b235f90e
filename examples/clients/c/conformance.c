// Makes calls as it is told on its input, for python -m conformance.check_client; conformance/README.md says how. It is
// for a host, and has the same bounds as a device, but holds in memory what has none.

#define _GNU_SOURCE
#include <cjson/cJSON.h>
#include <pb_common.h>
#include <pb_decode.h>
#include <pb_encode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "regularization/v1/regularization_service.pb.h"
#include "rpc.h"
#include "training/v1/augmentation.pb.h"
#include "training/v1/early_stopping.pb.h"

enum { WINDOW = 1 << 20, ROOM = 8 << 20, KEPT = 16 };

// A method, with its messages as nanopb knows them.
typedef struct {
  const char *name;
  const pb_msgdesc_t *request, *response;
  size_t request_size, response_size;
} method;

#define METHOD(service, call, type)                                                                             \
  {service "/" #call, &type##Request_msg, &type##Response_msg, sizeof(type##Request), sizeof(type##Response)}
#define REGULARIZATION(call) METHOD("regularization.v1.RegularizationService", call, regularization_v1_##call)

static const method METHODS[] = {
    REGULARIZATION(Penalty),
    REGULARIZATION(Gradient),
    REGULARIZATION(ProximalStep),
    REGULARIZATION(Measure),
    REGULARIZATION(Combine),
    REGULARIZATION(ListRegularizers),
    REGULARIZATION(ListPlans),
    METHOD("training.v1.AugmentationService", Augment, training_v1_Augment),
    METHOD("training.v1.EarlyStoppingService", Check, training_v1_Check),
};

// Where bytes of callbacks begin in the message that is decoded.
typedef struct {
  pb_istream_t places[KEPT];
  size_t used;
} kept;

static bool keep_place(pb_istream_t *stream, const pb_field_t *field, void **self) {
  (void)field;
  *(pb_istream_t *)*self = *stream;
  return pb_read(stream, NULL, stream->bytes_left);
}

static bool write_kept(pb_ostream_t *stream, const pb_field_t *field, void *const *self) {
  pb_istream_t place = *(const pb_istream_t *)*self;
  if (place.bytes_left == 0) return true;
  if (!pb_encode_tag_for_field(stream, field) || !pb_encode_varint(stream, place.bytes_left)) return false;
  if (stream->callback == NULL) return pb_write(stream, NULL, place.bytes_left);
  pb_byte_t bytes[4096];
  while (place.bytes_left > 0) {
    const size_t size = place.bytes_left < sizeof bytes ? place.bytes_left : sizeof bytes;
    if (!pb_read(&place, bytes, size) || !pb_write(stream, bytes, size)) return false;
  }
  return true;
}

enum direction { DECODE, ENCODE };

// Gives a message's callbacks, and those of its fields that are messages, a place each.
static void set_callbacks(const pb_msgdesc_t *type, void *message, enum direction direction, kept *bytes) {
  pb_field_iter_t field;
  if (!pb_field_iter_begin(&field, type, message)) return;
  do {
    if (PB_ATYPE(field.type) == PB_ATYPE_CALLBACK) {
      pb_callback_t *callback = field.pData;
      if (direction == DECODE) callback->funcs.decode = keep_place;
      else callback->funcs.encode = write_kept;
      callback->arg = &bytes->places[bytes->used++];
    } else if (field.submsg_desc != NULL && PB_ATYPE(field.type) == PB_ATYPE_STATIC &&
               PB_HTYPE(field.type) == PB_HTYPE_OPTIONAL) {
      set_callbacks(field.submsg_desc, field.pData, direction, bytes);
    }
  } while (pb_field_iter_next(&field));
}

// Decodes a message, and encodes it again; its size, or RPC_FAIL.
static ssize_t recoded(const pb_msgdesc_t *type, size_t size, const uint8_t *bytes, size_t count, uint8_t *to,
                       size_t capacity) {
  void *message = calloc(1, size);
  kept places = {.used = 0};
  pb_istream_t in = pb_istream_from_buffer(bytes, count);
  pb_ostream_t out = pb_ostream_from_buffer(to, capacity);
  set_callbacks(type, message, DECODE, &places);
  bool good = pb_decode(&in, type, message);
  if (!good) fprintf(stderr, "decoding: %s\n", PB_GET_ERROR(&in));
  places.used = 0;
  set_callbacks(type, message, ENCODE, &places);
  if (good && !pb_encode(&out, type, message)) {
    fprintf(stderr, "encoding: %s\n", PB_GET_ERROR(&out));
    good = false;
  }
  if (good) pb_release(type, message);
  free(message);
  return good ? (ssize_t)out.bytes_written : RPC_FAIL;
}

typedef struct {
  const method *asked;
  const uint8_t *requests, *end;  // Framed.
  FILE *responses;                // Framed.
} call;

static size_t framed(const uint8_t *head) {
  return (size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4];
}

static ssize_t next(void *self, uint8_t *buffer, size_t capacity) {
  call *of = self;
  if (of->requests == of->end) return RPC_END;
  const size_t size = framed(of->requests);
  const uint8_t *message = of->requests + 5;
  of->requests = message + size;
  return recoded(of->asked->request, of->asked->request_size, message, size, buffer, capacity);
}

static bool take(void *self, const uint8_t *message, size_t size) {
  const call *of = self;
  static uint8_t bytes[ROOM];
  const ssize_t made = recoded(of->asked->response, of->asked->response_size, message, size, bytes, sizeof bytes);
  if (made < 0) return false;
  const uint8_t head[5] = {0, (uint8_t)(made >> 24), (uint8_t)(made >> 16), (uint8_t)(made >> 8), (uint8_t)made};
  return fwrite(head, sizeof head, 1, of->responses) == 1 && fwrite(bytes, 1, (size_t)made, of->responses) == (size_t)made;
}

static void add_base64(cJSON *answer, const char *name, const uint8_t *bytes, size_t size) {
  static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  static char text[(RPC_DETAILS_SIZE + 2) / 3 * 4 + 1];
  char *at = text;
  for (size_t i = 0; i < size; i += 3) {
    uint32_t bits = 0;
    for (size_t j = 0; j < 3; ++j) bits = bits << 8 | (i + j < size ? bytes[i + j] : 0);
    for (size_t j = 0; j < 4; ++j) *at++ = i + j > size ? '=' : ALPHABET[bits >> (18 - 6 * j) & 63];
  }
  *at = '\0';
  cJSON_AddStringToObject(answer, name, text);
}

static const method *named(const char *name) {
  for (size_t i = 0; i < sizeof METHODS / sizeof *METHODS; ++i) {
    if (strcmp(METHODS[i].name, name) == 0) return &METHODS[i];
  }
  return NULL;
}

static bool answer_told(const rpc_status *status, const char *responses, size_t size) {
  cJSON *answer = cJSON_CreateObject();
  cJSON_AddNumberToObject(answer, "code", status->code);
  cJSON_AddStringToObject(answer, "message", status->text);
  add_base64(answer, "details", status->details, status->details_size);
  cJSON_AddNumberToObject(answer, "response_bytes", (double)size);
  char *line = cJSON_PrintUnformatted(answer);
  const bool told = printf("%s\n", line) > 0 && fwrite(responses, 1, size, stdout) == size && fflush(stdout) == 0;
  free(line);
  cJSON_Delete(answer);
  return told;
}

static bool job_done(rpc_connection *connection, const char *line) {
  static uint8_t out[ROOM], in[ROOM];
  cJSON *job = cJSON_Parse(line);
  const size_t size = (size_t)cJSON_GetNumberValue(cJSON_GetObjectItem(job, "request_bytes"));
  const method *asked = named(cJSON_GetStringValue(cJSON_GetObjectItem(job, "method")));
  const double deadline = rpc_now() + cJSON_GetNumberValue(cJSON_GetObjectItem(job, "deadline_seconds"));
  cJSON_Delete(job);
  uint8_t *requests = malloc(size + 1);
  if (asked == NULL || fread(requests, 1, size, stdin) != size) return false;
  char *responses;
  size_t response_bytes;
  call of = {asked, requests, requests + size, open_memstream(&responses, &response_bytes)};
  static rpc_status status;
  rpc_call(connection, asked->name, (rpc_stream){next, take, &of}, (rpc_buffers){out, sizeof out, in, sizeof in}, deadline,
           &status);
  fclose(of.responses);
  const bool told = answer_told(&status, responses, response_bytes);
  free(responses);
  free(requests);
  return told;
}

int main(int count, char **arguments) {
  rpc_connection *connection = count == 2 ? rpc_new(arguments[1], WINDOW) : NULL;
  char *line = NULL;
  size_t capacity = 0;
  bool good = connection != NULL;
  while (good && getline(&line, &capacity, stdin) > 0) good = job_done(connection, line);
  free(line);
  rpc_free(connection);
  return good ? 0 : 1;
}
