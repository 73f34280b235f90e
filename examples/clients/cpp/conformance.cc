// Makes calls as it is told on its input, for python -m conformance.check_client; conformance/README.md says how.

#include <google/protobuf/descriptor.h>
#include <google/protobuf/message.h>
#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/wrappers.pb.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "refusal.h"

namespace pb = google::protobuf;

namespace {

// What the call ended with, and the responses in gRPC's frames.
struct Outcome {
  grpc::Status status;
  std::string responses;
};

std::string Frame(const std::string& message) {
  const auto size = static_cast<uint32_t>(message.size());
  std::string frame(5, '\0');
  for (int i = 0; i < 4; ++i) frame[i + 1] = static_cast<char>(size >> (24 - 8 * i));
  return frame + message;
}

std::vector<std::string> Messages(const std::string& framed) {
  std::vector<std::string> messages;
  for (size_t at = 0; at < framed.size();) {
    uint32_t size = 0;
    for (int i = 1; i < 5; ++i) size = size << 8 | static_cast<unsigned char>(framed[at + i]);
    messages.push_back(framed.substr(at + 5, size));
    at += 5 + size;
  }
  return messages;
}

std::string Base64(const std::string& bytes) {
  pb::BytesValue value;
  value.set_value(bytes);
  std::string quoted;
  return pb::util::MessageToJsonString(value, &quoted).ok() ? quoted.substr(1, quoted.size() - 2) : "";
}

// The bytes of a message, decoded by its generated class and encoded again.
std::string Recoded(const pb::Descriptor* type, const std::string& bytes) {
  const std::unique_ptr<pb::Message> message(
      pb::MessageFactory::generated_factory()->GetPrototype(type)->New());
  if (!message->ParseFromString(bytes)) throw std::runtime_error("no " + type->full_name());
  return message->SerializeAsString();
}

std::string Bytes(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  buffer.Dump(&slices);
  std::string bytes;
  for (const grpc::Slice& slice : slices) bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return bytes;
}

// On the wire every call is a stream both ways. Writing and reading are under way at the same time.
Outcome Call(grpc::GenericStub& stub, const pb::MethodDescriptor& method, const std::string& framed, double seconds) {
  enum Event : intptr_t { kStarted = 1, kWritten, kRead, kFinished };
  const auto tag = [](Event event) { return reinterpret_cast<void*>(event); };
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(static_cast<long>(seconds * 1000)));
  grpc::CompletionQueue queue;
  const std::string path = "/" + method.service()->full_name() + "/" + method.name();
  const auto call = stub.PrepareCall(&context, path, &queue);
  const std::vector<std::string> requests = Messages(framed);
  auto next = requests.begin();
  Outcome outcome;
  grpc::ByteBuffer received;
  const auto write = [&] {
    if (next == requests.end()) {
      call->WritesDone(tag(kFinished));
    } else {
      const grpc::Slice slice(Recoded(method.input_type(), *next++));
      call->Write(grpc::ByteBuffer(&slice, 1), tag(kWritten));
    }
  };
  call->StartCall(tag(kStarted));
  // Two things must end: the writing, and the reading, after which the status comes.
  int open = 2;
  void* event;
  for (bool ok; open > 0 && queue.Next(&event, &ok);) {
    if (event == tag(kFinished) || (event == tag(kWritten) && !ok)) {
      --open;
    } else if (event == tag(kStarted)) {
      write();
      call->Read(&received, tag(kRead));
    } else if (event == tag(kWritten)) {
      write();
    } else if (ok) {
      outcome.responses += Frame(Recoded(method.output_type(), Bytes(received)));
      call->Read(&received, tag(kRead));
    } else {
      call->Finish(&outcome.status, tag(kFinished));
    }
  }
  queue.Shutdown();
  for (bool ok; queue.Next(&event, &ok);) continue;
  return outcome;
}

}  // namespace

int main(int, char** arguments) {
  grpc::GenericStub stub(grpc::CreateChannel(arguments[1], grpc::InsecureChannelCredentials()));
  for (std::string line; std::getline(std::cin, line);) {
    pb::Struct job;
    if (!pb::util::JsonStringToMessage(line, &job).ok()) return 1;
    auto& entries = *job.mutable_fields();
    std::string name = entries["method"].string_value();
    name.replace(name.find('/'), 1, ".");
    std::string framed(static_cast<size_t>(entries["request_bytes"].number_value()), '\0');
    std::cin.read(framed.data(), static_cast<std::streamsize>(framed.size()));

    const pb::MethodDescriptor* method = pb::DescriptorPool::generated_pool()->FindMethodByName(name);
    const Outcome outcome = Call(stub, *method, framed, entries["deadline_seconds"].number_value());
    pb::Struct answer;
    auto& said = *answer.mutable_fields();
    said["code"].set_number_value(outcome.status.error_code());
    said["message"].set_string_value(outcome.status.error_message());
    said["details"].set_string_value(Base64(outcome.status.error_details()));
    said["response_bytes"].set_number_value(static_cast<double>(outcome.responses.size()));
    std::string printed;
    if (!pb::util::MessageToJsonString(answer, &printed).ok()) return 1;
    std::cout << printed << '\n' << outcome.responses << std::flush;
  }
}
