// One FLUX training step after another, on request: worker.py's counterpart on this program's own parts.
#include <sys/resource.h>
#include <torch/torch.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "base/clock.h"
#include "diffusion/flow_matching.h"
#include "metrics/profiler.h"
#include "models/flux/model.h"
#include "models/flux/weight_names.h"
#include "models/model_table.h"
#include "nn/cpu_allocator.h"
#include "nn/device.h"
#include "nn/tensor_io.h"
#include "optim/adam_optimizer.h"
#include "optim/clip.h"

namespace millrace {
namespace {

int64_t peak_memory_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return int64_t{1024} * usage.ru_maxrss;
}

flux::Keep parse_keep(const std::string& mode) {
  return mode == "none" ? flux::Keep::kAll : mode == "full" ? flux::Keep::kInputs : flux::Keep::kOutputs;
}

std::unique_ptr<flux::Flux> load_model(const std::string& folder, const FlatParametersOptions& options) {
  const ModelWeights weights(find_model("flux"), folder + "/diffusers.safetensors", folder + "/config.json");
  const flux::FluxConfig config =
      flux::config_from_shapes(shapes_of(weights.store()), weights.naming(), folder + "/diffusers.safetensors");
  auto model = std::make_unique<flux::Flux>(config, options);
  model->flat_parameters().assign(weights.import());
  return model;
}

int run(int argc, char** argv) {
  const double start = now_seconds();
  std::string folder, dtype = "fp32", device_name = "cpu", recompute = "selective", trace;
  int threads = 0;
  CLI::App app{"Steps on request"};
  app.add_option("--folder", folder)->required();
  app.add_option("--dtype", dtype);
  app.add_option("--device", device_name);
  app.add_option("--recompute", recompute);
  app.add_option("--threads", threads);
  app.add_option("--trace", trace, "Folder for a Kineto trace of the third step");
  CLI11_PARSE(app, argc, argv);
  if (threads > 0) at::set_num_threads(threads);
  install_caching_cpu_allocator();

  const torch::Device device = resolve_device(device_name);
  const torch::Dtype compute = dtype == "bf16" ? torch::kBFloat16 : torch::kFloat32;
  const std::unique_ptr<flux::Flux> owned = load_model(folder, {compute, device, /*training=*/true});
  flux::Flux& model = *owned;
  FlatParameters& parameters = model.flat_parameters();
  FlatGroup group{"parameters", parameters.master(), parameters.grad(), {}};
  if (compute != torch::kFloat32) group.model_copy = parameters.compute();
  AdamOptimizer optimizer({group}, {});

  const TensorMap batch = load_tensors(folder + "/batch.safetensors");
  const auto on_device = [&](const char* name) { return batch.at(name).to(device); };
  const flux::FluxInputs inputs = {on_device("img"),     on_device("img_ids"),   on_device("txt"),
                                   on_device("txt_ids"), on_device("timesteps"), on_device("y")};
  const torch::Tensor target = on_device("target");
  const double weight = 1.0 / static_cast<double>(target.size(0));

  std::printf("{\"ready\": %.6f}\n", now_seconds() - start);
  std::fflush(stdout);
  ProfilingConfig profiling;
  profiling.enable_profiling = !trace.empty();
  profiling.wait_steps = profiling.warmup_steps = profiling.num_cycles = 1;
  StepProfiler profiler(profiling, trace);
  int64_t step = 0;
  std::string line;
  while (std::getline(std::cin, line)) {
    const double begin = now_seconds();
    flux::Flux::Saved saved;
    const torch::Tensor prediction = model.forward(inputs, &saved, parse_keep(recompute));
    const VelocityLoss loss = velocity_loss(prediction, target, weight);
    model.backward(saved, loss.dprediction);
    const GradNorm norm = global_grad_norm(optimizer.groups(), 1.0);
    optimizer.step(1e-4, norm.coefficient_1);
    profiler.step(++step);
    const double mean = loss.per_sample_B.mean().item<double>();
    std::printf("{\"loss\": %.9g, \"seconds\": %.6f, \"peak\": %lld}\n", mean, now_seconds() - begin,
                static_cast<long long>(peak_memory_bytes()));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  return millrace::run(argc, argv);
}
