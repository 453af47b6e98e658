#include <c10/core/impl/VirtualGuardImpl.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>
#include <map>
#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/philox.h"
#include "kernels/op_check.h"
#include "kernels/philox_fill/philox_fill.h"
#include "nn/cpu_allocator.h"
#include "nn/device.h"
#include "probe.h"

namespace millrace {

void print_result(const nlohmann::json& result) {
  std::printf("%s\n", result.dump().c_str());
  std::fflush(stdout);
}

void wait_for(torch::Device device) {
  if (!device.is_cuda()) return;
  const c10::impl::VirtualGuardImpl guard(device.type());
  guard.synchronizeStream(guard.getStream(device));
}

double microseconds_per_call(const ProbeOptions& options, const std::function<void()>& call) {
  const int runs = options.tiny ? 1 : 5;
  const double run_seconds = options.tiny ? 0 : 0.02;
  call();  // kernels are loaded, algorithms chosen
  wait_for(options.device);
  double begin = now_seconds();
  call();
  wait_for(options.device);
  const int calls = std::clamp(static_cast<int>(run_seconds / (now_seconds() - begin)), 1, 200);
  std::vector<double> times;
  for (int run = 0; run < runs; ++run) {
    begin = now_seconds();
    for (int i = 0; i < calls; ++i) call();
    wait_for(options.device);
    times.push_back((now_seconds() - begin) / calls * 1e6);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

torch::Tensor noise(const std::vector<int64_t>& sizes, torch::Dtype dtype, const ProbeOptions& options, uint64_t id) {
  torch::Tensor x = torch::empty(sizes, torch::TensorOptions(options.device).dtype(dtype));
  philox_fill_normal(x.view({1, -1}), {random_stream(9, RandomPurpose::kInit, 0, id)});
  return x;
}

double error_of(const torch::Tensor& got, const torch::Tensor& expected) {
  const auto exact = [](const torch::Tensor& x) { return x.detach().to(torch::kCPU).to(torch::kFloat64); };
  return relative_error(exact(got), exact(expected));
}

namespace {

int run(int argc, char** argv) {
  const std::map<std::string, void (*)(const ProbeOptions&)> parts = {
      {"kernels", probe_kernels},       {"llama-kernels", probe_llama_kernels},
      {"products", probe_products},     {"attention", probe_attention},
      {"modulation", probe_modulation}, {"whole-modulation", probe_whole_modulation},
      {"models", probe_models}};
  ProbeOptions options;
  std::string part, device = "cuda";
  CLI::App app{"Measures and compares operations on a GPU, one line of JSON per result"};
  app.add_option("part", part)->required()->check(CLI::IsMember([&] {
    std::vector<std::string> names;
    for (const auto& [name, function] : parts) names.push_back(name);
    return names;
  }()));
  app.add_option("--device", device);
  app.add_flag("--tiny", options.tiny, "Sizes for a rehearsal on a CPU");
  CLI11_PARSE(app, argc, argv);
  install_caching_cpu_allocator();
  options.device = resolve_device(device);
  const torch::NoGradGuard no_grad;
  parts.at(part)(options);
  return 0;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  try {
    return millrace::run(argc, argv);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "probe: %s\n", error.what());
    return 1;
  }
}
