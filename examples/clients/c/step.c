#define _GNU_SOURCE
#include "step.h"

#include <pb_decode.h>
#include <pb_encode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "refusal.h"

enum { PIECE = 1024 };  // Bytes that go through a buffer of their own at once; whole elements.

typedef struct {
  const step *asked;
  stepped *done;
  bool headed;       // Whether the header was sent.
  int64_t sent, got;  // Elements.
  bool summed;
} stream;

static int64_t chunk_at(const step *asked, int64_t element) {
  const int64_t left = asked->elements - element;
  return left < (int64_t)asked->chunk_elements ? left : (int64_t)asked->chunk_elements;
}

static bool write_parameters(pb_ostream_t *out, const pb_field_t *field, void *const *self) {
  const stream *at = *self;
  const step *asked = at->asked;
  size_t left = (size_t)chunk_at(asked, at->sent) * asked->element_size;
  if (!pb_encode_tag_for_field(out, field) || !pb_encode_varint(out, left)) return false;
  // nanopb asks for the size first.
  if (out->callback == NULL) return pb_write(out, NULL, left);
  uint8_t bytes[PIECE];
  for (int64_t element = at->sent; left > 0;) {
    const size_t count = (left < PIECE ? left : PIECE) / asked->element_size;
    if (!asked->read(asked->self, element, count, bytes)) return false;
    if (!pb_write(out, bytes, count * asked->element_size)) return false;
    element += (int64_t)count;
    left -= count * asked->element_size;
  }
  return true;
}

static ssize_t next(void *self, uint8_t *buffer, size_t capacity) {
  stream *at = self;
  if (at->headed && at->sent == at->asked->elements) return RPC_END;
  regularization_v1_ProximalStepRequest request = regularization_v1_ProximalStepRequest_init_zero;
  request.has_header = !at->headed;
  if (request.has_header) request.header = at->asked->header;
  request.has_chunk = true;
  request.chunk.element_offset = at->sent;
  request.chunk.parameters = (pb_callback_t){{.encode = write_parameters}, at};
  pb_ostream_t out = pb_ostream_from_buffer(buffer, capacity);
  if (!pb_encode(&out, regularization_v1_ProximalStepRequest_fields, &request)) return RPC_FAIL;
  at->headed = true;
  at->sent += chunk_at(at->asked, at->sent);
  return (ssize_t)out.bytes_written;
}

// Where bytes begin in a response: they are read once all of it is known.
static bool keep_place(pb_istream_t *in, const pb_field_t *field, void **self) {
  (void)field;
  *(pb_istream_t *)*self = *in;
  return pb_read(in, NULL, in->bytes_left);
}

// The next elements of a chunk, of which those that the bitmap does not mark are zero.
static bool unpack(pb_istream_t *values, pb_istream_t *bitmap, uint8_t *bits, int64_t first, int64_t count, size_t size,
                   uint8_t *bytes) {
  for (int64_t i = first; i < first + count; ++i, bytes += size) {
    if (i % 8 == 0 && !pb_read(bitmap, bits, 1)) return false;
    if (!(*bits >> (i % 8) & 1)) memset(bytes, 0, size);
    else if (!pb_read(values, bytes, size)) return false;
  }
  return true;
}

// Elements that have come, in pieces.
static bool write_elements(const step *asked, int64_t element, int64_t count, pb_istream_t values, pb_istream_t bitmap) {
  const bool sparse = bitmap.bytes_left > 0;
  const size_t size = asked->element_size;
  uint8_t bytes[PIECE], bits = 0;
  for (int64_t i = 0, held; i < count; i += held) {
    held = count - i < (int64_t)(PIECE / size) ? count - i : (int64_t)(PIECE / size);
    const bool came = sparse ? unpack(&values, &bitmap, &bits, i, held, size, bytes)
                             : pb_read(&values, bytes, (size_t)held * size);
    if (!came || !asked->write(asked->self, element + i, (size_t)held, bytes)) return false;
  }
  // No value is left over, and no bit past the last element is set.
  return values.bytes_left == 0 && bitmap.bytes_left == 0 && (count % 8 == 0 || bits >> (count % 8) == 0);
}

static bool take(void *self, const uint8_t *message, size_t size) {
  stream *at = self;
  pb_istream_t values = PB_ISTREAM_EMPTY, bitmap = PB_ISTREAM_EMPTY;
  regularization_v1_ProximalStepResponse response = regularization_v1_ProximalStepResponse_init_zero;
  response.chunk.values = (pb_callback_t){{keep_place}, &values};
  response.chunk.nonzero_bitmap = (pb_callback_t){{keep_place}, &bitmap};
  pb_istream_t in = pb_istream_from_buffer(message, size);
  if (!pb_decode(&in, regularization_v1_ProximalStepResponse_fields, &response) || at->summed) return false;
  if (response.has_chunk) {
    // Each chunk that was sent has one answer, of the same elements.
    if (response.chunk.element_offset != at->got || at->got >= at->sent) return false;
    const int64_t count = chunk_at(at->asked, at->got);
    if (!write_elements(at->asked, at->got, count, values, bitmap)) return false;
    at->got += count;
  }
  if (response.has_summary) at->done->summary = response.summary;
  at->summed = response.has_summary;
  return true;
}

static void pause_before(int attempt, double deadline) {
  const int longest = 100 << (attempt < 6 ? attempt : 6);
  double seconds = 0.001 * (double)(random() % longest);
  if (seconds > deadline - rpc_now()) seconds = deadline - rpc_now();
  if (seconds <= 0) return;
  const struct timespec time = {(time_t)seconds, (long)((seconds - (double)(time_t)seconds) * 1e9)};
  nanosleep(&time, NULL);
}

void step_take(rpc_connection *connection, const step *asked, rpc_buffers buffers, double deadline, stepped *done,
               rpc_status *status) {
  // Many devices that broke at once are not to come back at once.
  srandom((unsigned)(rpc_now() * 1e6));
  for (int attempt = 1;; ++attempt) {
    stream at = {.asked = asked, .done = done};
    done->streams = attempt;
    rpc_call(connection, "regularization.v1.RegularizationService/ProximalStep", (rpc_stream){next, take, &at}, buffers,
             deadline, status);
    if (status->code == RPC_OK && !(at.summed && at.got == asked->elements)) {
      status->code = RPC_UNAVAILABLE;
      snprintf(status->text, sizeof status->text, "the stream ended before its summary");
    }
    if (status->code == RPC_OK || !refusal_broke(status) || attempt == asked->attempts) return;
    pause_before(attempt, deadline);
  }
}
