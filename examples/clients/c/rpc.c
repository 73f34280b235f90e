#define _GNU_SOURCE
#include "rpc.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "transfer.h"

static const double SECONDS_OF_SILENCE = 10;  // No less: a server may close who pings more often.
static const double SECONDS_TO_CONNECT = 10;

struct rpc_connection {
  char host[256], port[16];
  int32_t window;
  int socket;  // -1 while there is none.
  nghttp2_session *session;
  nghttp2_mem memory;
  size_t held;
  rpc_usage used;
  const uint8_t *pending;  // Bytes of nghttp2's that the socket has not taken yet.
  size_t pending_size;
  double heard;  // When something last came.
  bool pinged;
  transfer *current;  // The call under way.
};

double rpc_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

// nghttp2's memory, counted: each block has its size before it.
enum { BLOCK_HEAD = 16 };

static void *resized(void *block, size_t size, void *self) {
  rpc_connection *connection = self;
  uint8_t *old = block == NULL ? NULL : (uint8_t *)block - BLOCK_HEAD;
  const size_t before = old == NULL ? 0 : *(size_t *)old;
  uint8_t *now = realloc(old, size + BLOCK_HEAD);
  if (now == NULL) return NULL;
  *(size_t *)now = size;
  connection->held += size - before;
  if (connection->held > connection->used.peak_memory) connection->used.peak_memory = connection->held;
  return now + BLOCK_HEAD;
}

static void *allocated(size_t size, void *self) { return resized(NULL, size, self); }

static void *cleared(size_t count, size_t size, void *self) {
  void *block = resized(NULL, count * size, self);
  return block == NULL ? NULL : memset(block, 0, count * size);
}

static void freed(void *block, void *self) {
  if (block == NULL) return;
  uint8_t *start = (uint8_t *)block - BLOCK_HEAD;
  ((rpc_connection *)self)->held -= *(size_t *)start;
  free(start);
}

rpc_connection *rpc_new(const char *target, int32_t window) {
  rpc_connection *connection = calloc(1, sizeof *connection);
  if (connection == NULL) return NULL;
  connection->socket = -1;
  connection->window = window;
  connection->memory = (nghttp2_mem){connection, allocated, freed, cleared, resized};
  const char *colon = strrchr(target, ':');
  const size_t host = colon == NULL ? strlen(target) : (size_t)(colon - target);
  snprintf(connection->host, sizeof connection->host, "%.*s", (int)host, target);
  snprintf(connection->port, sizeof connection->port, "%s", colon == NULL ? "443" : colon + 1);
  return connection;
}

static void hang_up(rpc_connection *connection) {
  nghttp2_session_del(connection->session);
  if (connection->socket >= 0) close(connection->socket);
  connection->session = NULL;
  connection->socket = -1;
  connection->pending_size = 0;
}

void rpc_free(rpc_connection *connection) {
  if (connection == NULL) return;
  hang_up(connection);
  free(connection);
}

rpc_usage rpc_used(const rpc_connection *connection) { return connection->used; }

// Waits for the socket; false where the time is over before anything happens.
static bool awaited(int socket, short events, double until) {
  const double seconds = until - rpc_now();
  struct pollfd wanted = {.fd = socket, .events = events};
  const int happened = poll(&wanted, 1, seconds <= 0 ? 0 : (int)(seconds * 1000) + 1);
  return happened > 0 || (happened < 0 && errno == EINTR);
}

static int dialled(const rpc_connection *connection, double until) {
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct addrinfo *found, *each;
  if (getaddrinfo(connection->host, connection->port, &hints, &found) != 0) return -1;
  int opened = -1;
  for (each = found; each != NULL && opened < 0; each = each->ai_next) {
    const int tried = socket(each->ai_family, each->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, each->ai_protocol);
    if (tried < 0) continue;
    int error = connect(tried, each->ai_addr, each->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
      socklen_t size = sizeof error;
      if (!awaited(tried, POLLOUT, until) || getsockopt(tried, SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = ETIMEDOUT;
    }
    if (error == 0) opened = tried;
    else close(tried);
  }
  freeaddrinfo(found);
  const int yes = 1;
  if (opened >= 0) setsockopt(opened, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  return opened;
}

static transfer *of(void *self, int32_t id) {
  transfer *current = ((rpc_connection *)self)->current;
  return current != NULL && current->id == id && !current->ended ? current : NULL;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_size,
                     const uint8_t *value, size_t value_size, uint8_t flags, void *self) {
  (void)session, (void)flags;
  transfer *call = of(self, frame->hd.stream_id);
  if (call != NULL) transfer_header(call, (const char *)name, name_size, (const char *)value, value_size);
  return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t size, void *self) {
  (void)flags;
  transfer *call = of(self, id);
  if (call != NULL && !transfer_take(call, data, size)) {
    nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
    call->ended = true;
  }
  return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *self) {
  transfer *call = of(self, frame->hd.stream_id);
  const bool ends = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
  if (call == NULL || !ends || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) return 0;
  // The answer is whole, whatever of the request is still to be sent.
  if (!call->sent) nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, call->id, NGHTTP2_NO_ERROR);
  call->ended = true;
  return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *self) {
  (void)session;
  transfer *call = of(self, id);
  if (call == NULL) return 0;
  call->reset = error;
  call->ended = true;
  return 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *buffer, size_t size, uint32_t *flags,
                       nghttp2_data_source *source, void *self) {
  (void)session, (void)source;
  transfer *call = of(self, id);
  const ssize_t given = call == NULL ? RPC_FAIL : transfer_give(call, buffer, size);
  if (given == RPC_FAIL) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
  if (call->sent) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return given;
}

static bool greeted(rpc_connection *connection) {
  nghttp2_session_callbacks *callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  const int made = nghttp2_session_client_new3(&connection->session, callbacks, connection, NULL, &connection->memory);
  nghttp2_session_callbacks_del(callbacks);
  if (made != 0) return false;
  const nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}, {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)connection->window}};
  nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, 2);
  nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0, connection->window);
  return true;
}

static bool connected(rpc_connection *connection, double deadline) {
  if (connection->session != NULL && nghttp2_session_check_request_allowed(connection->session)) return true;
  hang_up(connection);
  const double until = rpc_now() + SECONDS_TO_CONNECT;
  connection->socket = dialled(connection, until < deadline ? until : deadline);
  connection->pinged = false;
  return connection->socket >= 0 && greeted(connection);
}

// Gives the socket what it takes; false where the connection broke.
static bool written(rpc_connection *connection) {
  for (;;) {
    if (connection->pending_size == 0) {
      const ssize_t size = nghttp2_session_mem_send(connection->session, &connection->pending);
      if (size <= 0) return size == 0;
      connection->pending_size = (size_t)size;
    }
    const ssize_t taken = send(connection->socket, connection->pending, connection->pending_size, MSG_NOSIGNAL);
    if (taken < 0) return errno == EAGAIN || errno == EINTR;
    connection->pending += taken;
    connection->pending_size -= (size_t)taken;
    connection->used.sent += (uint64_t)taken;
  }
}

// Takes what the socket has; false where the connection broke.
static bool read_from(rpc_connection *connection) {
  uint8_t bytes[4096];
  const ssize_t size = recv(connection->socket, bytes, sizeof bytes, 0);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  if (size == 0) return false;
  connection->heard = rpc_now();
  connection->pinged = false;
  connection->used.received += (uint64_t)size;
  return nghttp2_session_mem_recv(connection->session, bytes, (size_t)size) == size;
}

// When to look at the link again, which is pinged where it has been silent; false where it has been so for too long.
static bool alive(rpc_connection *connection, double *until) {
  const double silent = rpc_now() - connection->heard;
  if (silent >= 2 * SECONDS_OF_SILENCE) return false;
  if (silent >= SECONDS_OF_SILENCE && !connection->pinged) {
    nghttp2_submit_ping(connection->session, NGHTTP2_FLAG_NONE, NULL);
    connection->pinged = true;
  }
  *until = connection->heard + (connection->pinged ? 2 : 1) * SECONDS_OF_SILENCE;
  return true;
}

static bool begun(rpc_connection *connection, const char *method, transfer *call, double deadline) {
  char path[160], authority[sizeof connection->host + sizeof connection->port], timeout[16];
  const double left = (deadline - rpc_now()) * 1000;
  snprintf(path, sizeof path, "/%s", method);
  snprintf(authority, sizeof authority, "%s:%s", connection->host, connection->port);
  // At most eight digits.
  snprintf(timeout, sizeof timeout, "%.0fm", left < 1 ? 1 : left > 99999999 ? 99999999 : left);
#define HEADER(name, value) {(uint8_t *)(name), (uint8_t *)(value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE}
  const nghttp2_nv headers[] = {
      HEADER(":method", "POST"),         HEADER(":scheme", "http"), HEADER(":path", path),
      HEADER(":authority", authority),   HEADER("te", "trailers"),  HEADER("content-type", "application/grpc"),
      HEADER("grpc-timeout", timeout),
  };
#undef HEADER
  const nghttp2_data_provider body = {.read_callback = on_read};
  call->id = nghttp2_submit_request(connection->session, NULL, headers, sizeof headers / sizeof *headers, &body, NULL);
  connection->current = call;
  connection->heard = rpc_now();
  return call->id > 0;
}

// Both directions at once, until the call has ended; false where the link broke before, or the time is over.
static bool carried(rpc_connection *connection, transfer *call, double deadline) {
  while (!call->ended) {
    double until;
    if (!alive(connection, &until) || !written(connection)) return false;
    const bool over = !nghttp2_session_want_read(connection->session) && connection->pending_size == 0;
    if (over || rpc_now() >= deadline) return false;
    const short events = POLLIN | (connection->pending_size > 0 ? POLLOUT : 0);
    if (!awaited(connection->socket, events, until < deadline ? until : deadline)) continue;
    if (!read_from(connection)) return call->ended;
  }
  // What is left to say of it; if it does not get through, the next call finds out.
  (void)written(connection);
  return true;
}

void rpc_call(rpc_connection *connection, const char *method, rpc_stream stream, rpc_buffers buffers, double deadline,
              rpc_status *status) {
  transfer call = {.stream = stream, .buffers = buffers, .status = status, .code = -1};
  *status = (rpc_status){.code = RPC_UNAVAILABLE};
  bool whole = false;
  if (!connected(connection, deadline)) {
    snprintf(status->text, sizeof status->text, "cannot connect to %s:%s", connection->host, connection->port);
  } else if (begun(connection, method, &call, deadline)) {
    whole = carried(connection, &call, deadline);
    if (!whole) snprintf(status->text, sizeof status->text, "the connection broke");
  }
  connection->current = NULL;
  if (whole) {
    transfer_finish(&call);
    return;
  }
  if (rpc_now() >= deadline) {
    status->code = RPC_DEADLINE_EXCEEDED;
    snprintf(status->text, sizeof status->text, "the deadline is over");
  }
  // What the server still sends of it ends with the connection.
  hang_up(connection);
}
