#pragma once

#include <chrono>
#include <string>

#include "regularization/v1/regularization_service.grpc.pb.h"

// A step to take.
struct Step {
  regularization::v1::ProximalStepHeader header;
  size_t element_size;                             // Bytes.
  std::string parameters;                          // The elements, as the layout's data type has them.
  std::chrono::system_clock::time_point deadline;  // Of all attempts together.
};

// What came of it.
struct Stepped {
  std::string parameters;
  regularization::v1::Summary summary;
};

// Takes a step. A stream that broke is sent anew, for a call is a function of its messages alone.
//
// Throws Refused if the call fails.
Stepped ProximalStep(regularization::v1::RegularizationService::Stub& service, const Step& step);
