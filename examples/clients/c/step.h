// The proximal step of elements that lie anywhere, with buffers for one chunk.
#pragma once

#include "regularization/v1/regularization_service.pb.h"
#include "rpc.h"

typedef struct {
  regularization_v1_ProximalStepHeader header;
  int64_t elements;
  size_t element_size;   // Bytes.
  size_t chunk_elements;
  // The elements, little-endian, as the layout's data type has them: read may be asked for the same ones again, where a
  // stream that broke is sent anew, so results must not be written over them before the step is taken.
  bool (*read)(void *self, int64_t element, size_t count, uint8_t *bytes);
  bool (*write)(void *self, int64_t element, size_t count, const uint8_t *bytes);
  void *self;
  int attempts;  // How many streams may break, the last one included.
} step;

// Memory that a step needs beside itself, for chunks of so many bytes: a request and a response, with what goes with
// the elements.
#define STEP_OUT_BYTES(chunk) ((chunk) + 2048)
#define STEP_IN_BYTES(chunk) ((chunk) + (chunk) / 8 + 4096)

typedef struct {
  regularization_v1_Summary summary;
  int streams;  // How many it took.
} stepped;

// Takes a step; status->code says whether it was taken. A stream that broke is sent anew until the deadline, for a call
// is a function of its messages alone.
void step_take(rpc_connection *connection, const step *asked, rpc_buffers buffers, double deadline, stepped *done,
               rpc_status *status);
