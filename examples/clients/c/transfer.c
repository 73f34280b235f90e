#include "transfer.h"

#include <ctype.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAD = 5 };

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static bool given_up(transfer *call, int code, const char *why) {
  call->own = code;
  call->status->given_up = true;
  snprintf(call->status->text, sizeof call->status->text, "%s", why);
  return false;
}

// Has the next request in the buffer; false where there is none.
static bool another(transfer *call) {
  const ssize_t size = call->stream.next(call->stream.self, call->buffers.out, call->buffers.out_capacity);
  if (size == RPC_FAIL) return given_up(call, RPC_INTERNAL, "the request cannot be written");
  call->sent = size == RPC_END;
  if (call->sent) return false;
  call->out_size = (size_t)size;
  call->out_left = HEAD + call->out_size;
  call->out_head[0] = 0;
  for (int i = 0; i < 4; ++i) call->out_head[1 + i] = (uint8_t)(call->out_size >> (24 - 8 * i));
  return true;
}

// Small messages share a frame of HTTP/2, large ones take several.
ssize_t transfer_give(transfer *call, uint8_t *buffer, size_t size) {
  size_t given = 0;
  while (given < size && (call->out_left > 0 || another(call))) {
    const size_t at = HEAD + call->out_size - call->out_left;
    const uint8_t *from = at < HEAD ? call->out_head + at : call->buffers.out + at - HEAD;
    const size_t taken = smaller(at < HEAD ? HEAD - at : call->out_left, size - given);
    memcpy(buffer + given, from, taken);
    given += taken;
    call->out_left -= taken;
  }
  return call->own != 0 ? RPC_FAIL : (ssize_t)given;
}

// What to do once a response's head is there.
static bool announced(transfer *call) {
  call->in_size = 0;
  for (int i = 1; i < HEAD; ++i) call->in_size = call->in_size << 8 | call->in_head[i];
  if (call->in_head[0] != 0) return given_up(call, RPC_INTERNAL, "a response is compressed");
  if (call->in_size > call->buffers.in_capacity) {
    return given_up(call, RPC_RESOURCE_EXHAUSTED, "a response is larger than the room for it");
  }
  return true;
}

bool transfer_take(transfer *call, const uint8_t *data, size_t size) {
  while (size > 0) {
    const bool head = call->in_at < HEAD;
    uint8_t *to = head ? call->in_head + call->in_at : call->buffers.in + call->in_at - HEAD;
    const size_t taken = smaller((head ? HEAD : HEAD + call->in_size) - call->in_at, size);
    memcpy(to, data, taken);
    data += taken;
    size -= taken;
    call->in_at += taken;
    if (head && call->in_at == HEAD && !announced(call)) return false;
    if (call->in_at < HEAD || call->in_at < HEAD + call->in_size) continue;
    call->in_at = 0;
    if (!call->stream.take(call->stream.self, call->buffers.in, call->in_size)) {
      return given_up(call, RPC_INTERNAL, "a response is not what was asked for");
    }
  }
  return true;
}

static int digit(char symbol) {
  static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *found = symbol == '\0' ? NULL : strchr(ALPHABET, symbol);
  return found == NULL ? -1 : (int)(found - ALPHABET);
}

// Base64, with or without padding; the size, 0 where it is none or does not fit.
static size_t decoded(const char *text, size_t size, uint8_t *bytes, size_t capacity) {
  uint32_t bits = 0;
  int count = 0;
  size_t made = 0;
  for (size_t i = 0; i < size && text[i] != '='; ++i) {
    const int value = digit(text[i]);
    if (value < 0 || (count + 6 >= 8 && made == capacity)) return 0;
    bits = bits << 6 | (uint32_t)value;
    count += 6;
    if (count >= 8) bytes[made++] = (uint8_t)(bits >> (count -= 8));
  }
  return made;
}

// A text in which some bytes are %XX.
static void unescaped(const char *value, size_t size, char *text, size_t capacity) {
  size_t made = 0;
  for (size_t i = 0; i < size && made + 1 < capacity; ++i) {
    if (value[i] == '%' && i + 2 < size && isxdigit((uint8_t)value[i + 1]) && isxdigit((uint8_t)value[i + 2])) {
      text[made++] = (char)strtol((const char[]){value[i + 1], value[i + 2], '\0'}, NULL, 16);
      i += 2;
    } else {
      text[made++] = value[i];
    }
  }
  text[made] = '\0';
}

static bool is(const char *name, const char *text, size_t size) {
  return strlen(name) == size && memcmp(name, text, size) == 0;
}

// A code; UNKNOWN where the text is none.
static int number(const char *text) {
  char *end;
  const long code = strtol(text, &end, 10);
  return end == text || *end != '\0' || code < 0 || code > 16 ? RPC_UNKNOWN : (int)code;
}

void transfer_header(transfer *call, const char *name, size_t name_size, const char *value, size_t value_size) {
  rpc_status *status = call->status;
  // nghttp2 ends values with a zero.
  if (is(":status", name, name_size)) call->http = atoi(value);
  if (is("grpc-status", name, name_size)) call->code = number(value);
  if (is("grpc-message", name, name_size)) unescaped(value, value_size, status->text, sizeof status->text);
  if (is("grpc-status-details-bin", name, name_size)) {
    status->details_size = decoded(value, value_size, status->details, sizeof status->details);
  }
}

// Where the other side is no gRPC, or a proxy answers in its place.
static int of_http(int status) {
  switch (status) {
    case 200: return RPC_UNKNOWN;
    case 400: return RPC_INTERNAL;
    case 401: return RPC_UNAUTHENTICATED;
    case 403: return RPC_PERMISSION_DENIED;
    case 404: return RPC_UNIMPLEMENTED;
    case 429: case 502: case 503: case 504: return RPC_UNAVAILABLE;
    default: return RPC_UNKNOWN;
  }
}

static int of_reset(uint32_t error) {
  switch (error) {
    case NGHTTP2_REFUSED_STREAM: return RPC_UNAVAILABLE;
    case NGHTTP2_CANCEL: return RPC_CANCELLED;
    case NGHTTP2_ENHANCE_YOUR_CALM: return RPC_RESOURCE_EXHAUSTED;
    case NGHTTP2_INADEQUATE_SECURITY: return RPC_PERMISSION_DENIED;
    default: return RPC_INTERNAL;
  }
}

void transfer_finish(transfer *call) {
  rpc_status *status = call->status;
  if (call->own != 0) {
    status->code = call->own;
  } else if (call->code == RPC_OK && call->in_at > 0) {
    status->code = RPC_INTERNAL;
    snprintf(status->text, sizeof status->text, "the last response is cut off");
  } else if (call->code >= 0) {
    status->code = call->code;
  } else if (call->reset != 0) {
    status->code = of_reset(call->reset);
    snprintf(status->text, sizeof status->text, "the stream was reset, HTTP/2 error %u", call->reset);
  } else {
    status->code = of_http(call->http);
    snprintf(status->text, sizeof status->text, "no status of gRPC, HTTP status %d", call->http);
  }
}
