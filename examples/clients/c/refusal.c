#include "refusal.h"

#include <pb_decode.h>
#include <stdio.h>
#include <string.h>

#include "google/protobuf/any.pb.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

static const char *const NAMES[] = {
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};

typedef struct {
  char *at;
  size_t size;
} place;

// Keeps as much of a text as its place takes.
static bool keep_text(pb_istream_t *stream, const pb_field_t *field, void **self) {
  (void)field;
  const place *to = *self;
  const size_t kept = stream->bytes_left < to->size ? stream->bytes_left : to->size - 1;
  if (!pb_read(stream, (pb_byte_t *)to->at, kept)) return false;
  to->at[kept] = '\0';
  return pb_read(stream, NULL, stream->bytes_left);
}

// Keeps where bytes begin, to be read once their type is known.
static bool keep_place(pb_istream_t *stream, const pb_field_t *field, void **self) {
  (void)field;
  *(pb_istream_t *)*self = *stream;
  return pb_read(stream, NULL, stream->bytes_left);
}

static bool add_field(pb_istream_t *stream, const pb_field_t *field, void **self) {
  (void)field;
  refusal *found = *self;
  const size_t used = strlen(found->fields);
  place rest = {found->fields + used + 1, sizeof found->fields - used - 1};
  google_rpc_BadRequest_FieldViolation violation = google_rpc_BadRequest_FieldViolation_init_zero;
  if (used + 2 < sizeof found->fields) violation.field = (pb_callback_t){{keep_text}, &rest};
  if (!pb_decode(stream, google_rpc_BadRequest_FieldViolation_fields, &violation)) return false;
  if (used + 2 < sizeof found->fields) found->fields[used] = ' ';
  return true;
}

static bool ends_with(const char *text, const char *end) {
  return strlen(text) >= strlen(end) && strcmp(text + strlen(text) - strlen(end), end) == 0;
}

static bool add_detail(pb_istream_t *stream, const pb_field_t *field, void **self) {
  (void)field;
  refusal *found = *self;
  char type[64] = "";
  place name = {type, sizeof type}, reason = {found->reason, sizeof found->reason};
  pb_istream_t value = PB_ISTREAM_EMPTY;
  google_protobuf_Any any = google_protobuf_Any_init_zero;
  any.type_url = (pb_callback_t){{keep_text}, &name};
  any.value = (pb_callback_t){{keep_place}, &value};
  if (!pb_decode(stream, google_protobuf_Any_fields, &any)) return false;
  if (ends_with(type, "/google.rpc.ErrorInfo")) {
    google_rpc_ErrorInfo info = google_rpc_ErrorInfo_init_zero;
    info.reason = (pb_callback_t){{keep_text}, &reason};
    return pb_decode(&value, google_rpc_ErrorInfo_fields, &info);
  }
  if (ends_with(type, "/google.rpc.BadRequest")) {
    google_rpc_BadRequest request = google_rpc_BadRequest_init_zero;
    request.field_violations = (pb_callback_t){{add_field}, found};
    return pb_decode(&value, google_rpc_BadRequest_fields, &request);
  }
  return true;
}

refusal refusal_of(const rpc_status *status) {
  refusal found = {"", ""};
  google_rpc_Status details = google_rpc_Status_init_zero;
  details.details = (pb_callback_t){{add_detail}, &found};
  pb_istream_t stream = pb_istream_from_buffer(status->details, status->details_size);
  (void)pb_decode(&stream, google_rpc_Status_fields, &details);
  return found;
}

bool refusal_broke(const rpc_status *status) {
  if (status->given_up) return false;
  switch (status->code) {
    case RPC_UNAVAILABLE:
      return true;
    case RPC_INTERNAL:
    case RPC_UNKNOWN:
    case RPC_CANCELLED:
      return refusal_of(status).reason[0] == '\0';
    default:
      return false;
  }
}

int refusal_told(const rpc_status *status) {
  const refusal found = refusal_of(status);
  fprintf(stderr, "%s%s%s%s: %s\n", rpc_name(status->code), found.reason[0] == '\0' ? "" : " ", found.reason, found.fields,
          status->text);
  return 1;
}

const char *rpc_name(int code) {
  const bool known = code >= 0 && (size_t)code < sizeof NAMES / sizeof *NAMES;
  return known ? NAMES[code] : "UNKNOWN";
}
