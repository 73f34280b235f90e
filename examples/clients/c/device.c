// A step of training on a device with little memory: its model in 16-bit fixed point, by a plan that the gateway holds,
// with a result in which zeros take one bit.
//
//     device TARGET PLAN WEIGHTS RESULT STEP STEP_SIZE [SECONDS]

#include <inttypes.h>
#include <pb_encode.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "model.h"
#include "refusal.h"
#include "step.h"

// As many bytes as the link may have on its way are no more than this; a larger window is no faster.
enum { CHUNK_BYTES = 4096, WINDOW = 16384, ATTEMPTS = 1000 };

static uint8_t out[STEP_OUT_BYTES(CHUNK_BYTES)], in[STEP_IN_BYTES(CHUNK_BYTES)];

static bool write_layers(pb_ostream_t *stream, const pb_field_t *field, void *const *self) {
  (void)self;
  for (size_t i = 0; i < sizeof MODEL / sizeof *MODEL; ++i) {
    regularization_v1_Segment segment = regularization_v1_Segment_init_zero;
    snprintf(segment.name, sizeof segment.name, "%s", MODEL[i].name);
    segment.shape_count = MODEL[i].axes;
    for (size_t axis = 0; axis < MODEL[i].axes; ++axis) segment.shape[axis] = MODEL[i].shape[axis];
    if (!pb_encode_tag_for_field(stream, field)) return false;
    if (!pb_encode_submessage(stream, regularization_v1_Segment_fields, &segment)) return false;
  }
  return true;
}

static bool write_name(pb_ostream_t *stream, const pb_field_t *field, void *const *self) {
  const char *name = *self;
  return pb_encode_tag_for_field(stream, field) && pb_encode_string(stream, (const pb_byte_t *)name, strlen(name));
}

static int64_t length(void) {
  int64_t elements = 0;
  for (size_t i = 0; i < sizeof MODEL / sizeof *MODEL; ++i) {
    int64_t product = 1;
    for (size_t axis = 0; axis < MODEL[i].axes; ++axis) product *= MODEL[i].shape[axis];
    elements += product;
  }
  return elements;
}

static regularization_v1_ProximalStepHeader header_of(char **arguments) {
  regularization_v1_ProximalStepHeader header = regularization_v1_ProximalStepHeader_init_zero;
  header.has_layout = true;
  header.layout.data_type = regularization_v1_DataType_DATA_TYPE_Q15;
  header.layout.segments = (pb_callback_t){{.encode = write_layers}, NULL};
  header.layout.has_planned = true;
  header.layout.planned.which_source = regularization_v1_PlanAtStep_name_tag;
  header.layout.planned.source.name = (pb_callback_t){{.encode = write_name}, arguments[2]};
  header.layout.planned.has_step = true;
  header.layout.planned.step = strtoll(arguments[5], NULL, 10);
  header.has_step_size = true;
  header.step_size = strtod(arguments[6], NULL);
  header.accept_sparse_results = true;
  // Which layers a figure is from is known elsewhere; here it would be sent for nothing.
  header.has_figures = true;
  header.figures.has_segments = true;
  header.figures.segments = false;
  return header;
}

int main(int count, char **arguments) {
  if (count < 7) {
    fprintf(stderr, "usage: %s TARGET PLAN WEIGHTS RESULT STEP STEP_SIZE [SECONDS]\n", arguments[0]);
    return 2;
  }
  files of;
  if (!files_open(&of, arguments[3], arguments[4], sizeof(int16_t))) return 1;
  if (of.elements != length()) {
    fprintf(stderr, "%s has %" PRId64 " elements, and the model has %" PRId64 "\n", arguments[3], of.elements, length());
    return 1;
  }
  const step asked = {.header = header_of(arguments),
                      .elements = of.elements,
                      .element_size = of.element_size,
                      .chunk_elements = CHUNK_BYTES / sizeof(int16_t),
                      .read = files_read,
                      .write = files_write,
                      .self = &of,
                      .attempts = ATTEMPTS};
  rpc_connection *connection = rpc_new(arguments[1], WINDOW);
  if (connection == NULL) return 1;
  static stepped done;
  static rpc_status status;
  const double begin = rpc_now();
  const double deadline = begin + (count > 7 ? strtod(arguments[7], NULL) : 600);
  step_take(connection, &asked, (rpc_buffers){out, sizeof out, in, sizeof in}, deadline, &done, &status);
  const double took = rpc_now() - begin;
  const rpc_usage used = rpc_used(connection);
  rpc_free(connection);
  if (!files_close(&of)) return 1;
  if (status.code != RPC_OK) return refusal_told(&status);

  const regularization_v1_Figures *total = &done.summary.total;
  printf("plan     %s\n", done.summary.plan_digest);
  printf("penalty  %.17g\n", total->penalty.value);
  printf("nonzeros %" PRId64 " of %" PRId64 "\n", total->nonzeros, total->elements);
  printf("sent     %" PRIu64 " bytes\n", used.sent);
  printf("received %" PRIu64 " bytes\n", used.received);
  printf("streams  %d\n", done.streams);
  printf("seconds  %.2f\n", took);
  printf("memory   %zu bytes in buffers, %zu of nghttp2's\n",
         sizeof out + sizeof in + sizeof done + sizeof status + sizeof asked, used.peak_memory);
  return 0;
}
