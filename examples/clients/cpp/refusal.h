#pragma once

#include <grpcpp/grpcpp.h>

#include <stdexcept>
#include <string>
#include <vector>

// Why a call failed: the status, and what the service says of it to programs.
class Refused : public std::runtime_error {
 public:
  explicit Refused(const grpc::Status& status);

  // Whether the stream broke, so that sending all of it again is right.
  bool Broke() const;

  grpc::StatusCode code;
  std::string reason;               // A name of ErrorReason; empty where gRPC or a proxy spoke.
  std::vector<std::string> fields;  // Of the request, at fault, as paths from the message.
};

// The name of a status code, for instance "UNAVAILABLE".
std::string Name(grpc::StatusCode code);
