// The L1 norm's proximal step of a file of float32:
//
//     proximal_step TARGET INPUT OUTPUT STRENGTH STEP_SIZE [SECONDS]

#include <cstdio>
#include <fstream>
#include <iterator>

#include "refusal.h"
#include "step.h"

namespace v1 = regularization::v1;

int main(int count, char** arguments) try {
  if (count < 6) {
    std::fprintf(stderr, "usage: %s TARGET INPUT OUTPUT STRENGTH STEP_SIZE [SECONDS]\n", arguments[0]);
    return 2;
  }
  Step step;
  step.element_size = sizeof(float);
  std::ifstream input(arguments[2], std::ios::binary);
  if (!input) throw std::runtime_error(std::string("cannot read ") + arguments[2]);
  step.parameters.assign(std::istreambuf_iterator<char>(input), {});

  v1::ParameterLayout& layout = *step.header.mutable_layout();
  layout.set_data_type(v1::DATA_TYPE_FLOAT32);
  v1::Segment& segment = *layout.add_segments();
  segment.set_name("weights");
  segment.add_shape(step.parameters.size() / step.element_size);
  segment.mutable_regularizer()->mutable_l1_norm()->set_strength(std::stod(arguments[4]));
  step.header.set_step_size(std::stod(arguments[5]));

  // A summary has at most 4 MiB, which is what gRPC takes unless it is told otherwise.
  const auto channel = grpc::CreateChannel(arguments[1], grpc::InsecureChannelCredentials());
  const auto service = v1::RegularizationService::NewStub(channel);
  const auto begin = std::chrono::system_clock::now();
  step.deadline = begin + std::chrono::milliseconds(count > 6 ? std::stol(arguments[6]) * 1000 : 60'000);
  const Stepped stepped = ProximalStep(*service, step);
  const std::chrono::duration<double> took = std::chrono::system_clock::now() - begin;

  std::ofstream(arguments[3], std::ios::binary) << stepped.parameters;
  const v1::Figures& total = stepped.summary.total();
  std::printf("penalty  %.17g\n", total.penalty().value());
  std::printf("nonzeros %lld of %lld\n", static_cast<long long>(total.nonzeros()),
              static_cast<long long>(total.elements()));
  std::printf("speed    %.0f MiB/s\n", stepped.parameters.size() / 1048576.0 / took.count());
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
