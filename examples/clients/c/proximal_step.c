// The L1 norm's proximal step of a file of float32:
//
//     proximal_step TARGET INPUT OUTPUT STRENGTH STEP_SIZE [SECONDS]

#include <inttypes.h>
#include <pb_encode.h>
#include <stdio.h>
#include <stdlib.h>

#include "files.h"
#include "refusal.h"
#include "step.h"

enum { CHUNK_BYTES = 1 << 20, ATTEMPTS = 5 };

static uint8_t out[STEP_OUT_BYTES(CHUNK_BYTES)], in[STEP_IN_BYTES(CHUNK_BYTES)];

typedef struct {
  int64_t elements;
  double strength;
} segment;

static bool write_segment(pb_ostream_t *stream, const pb_field_t *field, void *const *self) {
  const segment *asked = *self;
  regularization_v1_Segment message = regularization_v1_Segment_init_zero;
  snprintf(message.name, sizeof message.name, "weights");
  message.shape_count = 1;
  message.shape[0] = asked->elements;
  message.has_regularizer = true;
  message.regularizer.which_kind = regularization_v1_Regularizer_l1_norm_tag;
  message.regularizer.kind.l1_norm.has_strength = true;
  message.regularizer.kind.l1_norm.strength = asked->strength;
  return pb_encode_tag_for_field(stream, field) &&
         pb_encode_submessage(stream, regularization_v1_Segment_fields, &message);
}

int main(int count, char **arguments) {
  if (count < 6) {
    fprintf(stderr, "usage: %s TARGET INPUT OUTPUT STRENGTH STEP_SIZE [SECONDS]\n", arguments[0]);
    return 2;
  }
  files of;
  if (!files_open(&of, arguments[2], arguments[3], sizeof(float))) return 1;
  segment weights = {of.elements, strtod(arguments[4], NULL)};
  step asked = {.elements = of.elements,
                .element_size = of.element_size,
                .chunk_elements = CHUNK_BYTES / sizeof(float),
                .read = files_read,
                .write = files_write,
                .self = &of,
                .attempts = ATTEMPTS};
  asked.header.has_layout = true;
  asked.header.layout.data_type = regularization_v1_DataType_DATA_TYPE_FLOAT32;
  asked.header.layout.segments = (pb_callback_t){{.encode = write_segment}, &weights};
  asked.header.has_step_size = true;
  asked.header.step_size = strtod(arguments[5], NULL);

  rpc_connection *connection = rpc_new(arguments[1], 2 * CHUNK_BYTES);
  if (connection == NULL) return 1;
  static stepped done;
  static rpc_status status;
  const double begin = rpc_now();
  const double deadline = begin + (count > 6 ? strtod(arguments[6], NULL) : 60);
  step_take(connection, &asked, (rpc_buffers){out, sizeof out, in, sizeof in}, deadline, &done, &status);
  const double took = rpc_now() - begin;
  rpc_free(connection);
  if (!files_close(&of)) return 1;
  if (status.code != RPC_OK) return refusal_told(&status);

  const regularization_v1_Figures *total = &done.summary.total;
  printf("penalty  %.17g\n", total->penalty.value);
  printf("nonzeros %" PRId64 " of %" PRId64 "\n", total->nonzeros, total->elements);
  printf("speed    %.0f MiB/s\n", (double)of.elements * (double)of.element_size / 1048576.0 / took);
  return 0;
}
