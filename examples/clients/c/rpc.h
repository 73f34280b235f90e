// gRPC over cleartext HTTP/2, as much of it as a device needs: one connection, one call at a time, in buffers that the
// caller has. nghttp2 does the frames and the flow control of both directions.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { RPC_DETAILS_SIZE = 8192, RPC_TEXT_SIZE = 512 };

// Codes of gRPC that this code speaks of itself.
enum {
  RPC_OK = 0,
  RPC_CANCELLED = 1,
  RPC_UNKNOWN = 2,
  RPC_DEADLINE_EXCEEDED = 4,
  RPC_PERMISSION_DENIED = 7,
  RPC_RESOURCE_EXHAUSTED = 8,
  RPC_UNIMPLEMENTED = 12,
  RPC_INTERNAL = 13,
  RPC_UNAVAILABLE = 14,
  RPC_UNAUTHENTICATED = 16,
};

// What a call ended with.
typedef struct {
  int code;
  bool given_up;                      // By this side, which would do so again.
  char text[RPC_TEXT_SIZE];           // For people; cut off where it is longer.
  uint8_t details[RPC_DETAILS_SIZE];  // A serialized google.rpc.Status, out of the trailer grpc-status-details-bin.
  size_t details_size;                // 0 where there is none.
} rpc_status;

enum { RPC_END = -1, RPC_FAIL = -2 };

// The two sides of a call. Both are called while the other one's messages are on their way.
typedef struct {
  // Writes the next request into the buffer. Gives its size, RPC_END after the last one, or RPC_FAIL to give up.
  ssize_t (*next)(void *self, uint8_t *buffer, size_t capacity);
  // Takes a response; false to give up.
  bool (*take)(void *self, const uint8_t *message, size_t size);
  void *self;
} rpc_stream;

// Room for one message each way; a larger one fails.
typedef struct {
  uint8_t *out;
  size_t out_capacity;
  uint8_t *in;
  size_t in_capacity;
} rpc_buffers;

typedef struct rpc_connection rpc_connection;

// A connection to "host:port", which is opened by the first call and opened anew after it broke. The window is what may
// come of a call before it is taken, in bytes. NULL where memory is short.
rpc_connection *rpc_new(const char *target, int32_t window);
void rpc_free(rpc_connection *connection);

// Makes a call of a method, "package.Service/Method", with a deadline in seconds of rpc_now. Where nothing comes for
// 10 s, the other side is pinged, and the link has broken if it says nothing for as long again.
void rpc_call(rpc_connection *connection, const char *method, rpc_stream stream, rpc_buffers buffers, double deadline,
              rpc_status *status);

// Seconds of a clock that only goes forward.
double rpc_now(void);

// What was sent and received in HTTP/2's frames, over all connections, and the most that nghttp2 held at once, in bytes.
typedef struct {
  uint64_t sent, received;
  size_t peak_memory;
} rpc_usage;

rpc_usage rpc_used(const rpc_connection *connection);
