// One call's messages and headers, without a socket.
#pragma once

#include "rpc.h"

typedef struct {
  rpc_stream stream;
  rpc_buffers buffers;
  rpc_status *status;
  int32_t id;  // HTTP/2's.
  // The request that is being sent, with its frame's head.
  uint8_t out_head[5];
  size_t out_size, out_left;
  bool sent;  // All of the requests.
  // The response that is coming.
  uint8_t in_head[5];
  size_t in_size, in_at;
  // How it ended.
  bool ended;
  int code, http;  // Of gRPC, -1 where none was said; of HTTP.
  uint32_t reset;  // HTTP/2's error code.
  int own;         // The code where this side gave up; else 0.
} transfer;

// Writes as much of the requests as fits; the size, or RPC_FAIL.
ssize_t transfer_give(transfer *call, uint8_t *buffer, size_t size);

// Takes bytes of responses; false to give up.
bool transfer_take(transfer *call, const uint8_t *data, size_t size);

// Takes a header or a trailer.
void transfer_header(transfer *call, const char *name, size_t name_size, const char *value, size_t value_size);

// Makes the status of what has come, once the call has ended.
void transfer_finish(transfer *call);
