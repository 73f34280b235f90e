#include "refusal.h"

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace {

constexpr const char* kNames[] = {
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"};

struct Details {
  explicit Details(const grpc::Status& status) {
    google::rpc::Status details;
    // gRPC calls the trailer grpc-status-details-bin so.
    details.ParseFromString(status.error_details());
    for (const google::protobuf::Any& detail : details.details()) {
      google::rpc::ErrorInfo info;
      google::rpc::BadRequest bad_request;
      if (detail.UnpackTo(&info)) {
        reason = info.reason();
      } else if (detail.UnpackTo(&bad_request)) {
        for (const auto& violation : bad_request.field_violations()) fields.push_back(violation.field());
      }
    }
  }

  std::string reason;
  std::vector<std::string> fields;
};

std::string Text(const grpc::Status& status) {
  const Details details(status);
  std::string text = Name(status.error_code());
  if (!details.reason.empty()) text += " " + details.reason;
  for (const std::string& field : details.fields) text += " " + field;
  return text + ": " + status.error_message();
}

}  // namespace

std::string Name(grpc::StatusCode code) {
  const auto index = static_cast<size_t>(code);
  return index < std::size(kNames) ? kNames[index] : std::to_string(code);
}

Refused::Refused(const grpc::Status& status) : std::runtime_error(Text(status)), code(status.error_code()) {
  Details details(status);
  reason = std::move(details.reason);
  fields = std::move(details.fields);
}

bool Refused::Broke() const {
  switch (code) {
    case grpc::StatusCode::UNAVAILABLE:
      return true;
    case grpc::StatusCode::INTERNAL:
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::CANCELLED:
      return reason.empty();
    default:
      return false;
  }
}
