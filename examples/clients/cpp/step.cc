#include "step.h"

#include <algorithm>
#include <random>
#include <thread>

#include "refusal.h"

namespace v1 = regularization::v1;

namespace {

constexpr size_t kChunkBytes = 1 << 20;
constexpr int kAttempts = 5;

using Stream = grpc::ClientReaderWriter<v1::ProximalStepRequest, v1::ProximalStepResponse>;

// Writes all messages; a stream that ends before takes no more of them, and its reader hears why.
void Write(const Step& step, Stream& stream) {
  v1::ProximalStepRequest request;
  *request.mutable_header() = step.header;
  if (!stream.Write(request)) return;
  request.clear_header();
  for (size_t begin = 0; begin < step.parameters.size(); begin += kChunkBytes) {
    request.mutable_chunk()->set_element_offset(begin / step.element_size);
    request.mutable_chunk()->set_parameters(step.parameters.substr(begin, kChunkBytes));
    if (!stream.Write(request)) return;
  }
  stream.WritesDone();
}

Stepped OneStream(v1::RegularizationService::Stub& service, const Step& step) {
  grpc::ClientContext context;
  context.set_deadline(step.deadline);
  const auto stream = service.ProximalStep(&context);
  // In a thread of its own: whoever writes a long stream to its end before reading stands still.
  std::thread writer([&] { Write(step, *stream); });
  Stepped stepped;
  stepped.parameters.reserve(step.parameters.size());
  bool whole = true, summed = false;
  for (v1::ProximalStepResponse response; stream->Read(&response);) {
    whole = whole && (!response.has_chunk() ||
                      response.chunk().element_offset() * step.element_size == stepped.parameters.size());
    stepped.parameters += response.chunk().values();
    if (response.has_summary()) {
      summed = true;
      stepped.summary = std::move(*response.mutable_summary());
    }
  }
  writer.join();
  if (const grpc::Status status = stream->Finish(); !status.ok()) throw Refused(status);
  if (!whole || !summed || stepped.parameters.size() != step.parameters.size()) {
    throw Refused({grpc::StatusCode::UNAVAILABLE, "the stream ended before its summary"});
  }
  return stepped;
}

}  // namespace

Stepped ProximalStep(v1::RegularizationService::Stub& service, const Step& step) {
  std::mt19937 random{std::random_device{}()};
  for (int attempt = 1;; ++attempt) {
    try {
      return OneStream(service, step);
    } catch (const Refused& refused) {
      if (!refused.Broke() || attempt == kAttempts) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % (100u << attempt)));
  }
}
