// One FLUX training step after another, on request: worker.py's counterpart on this program's own parts. As one of
// several ranks (RANK, WORLD_SIZE, ... in the environment) it takes its rows of the batch and its part of the weights.
#include <torch/types.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <iostream>
#include <memory>
#include <string>

#include "base/clock.h"
#include "comm/communicator.h"
#include "diffusion/flow_matching.h"
#include "metrics/memory.h"
#include "metrics/profiler.h"
#include "models/flux/model.h"
#include "models/flux/weight_names.h"
#include "models/model_table.h"
#include "nn/cpu_allocator.h"
#include "nn/device.h"
#include "nn/tensor_io.h"
#include "optim/adam_optimizer.h"
#include "optim/clip.h"
#include "train/parameter_group.h"
#include "train/step_totals.h"

namespace millrace {
namespace {

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
  MeshShape shape;
  int threads = 0;
  CLI::App app{"Steps on request"};
  app.add_option("--folder", folder)->required();
  app.add_option("--dtype", dtype);
  app.add_option("--device", device_name);
  app.add_option("--recompute", recompute);
  app.add_option("--threads", threads);
  app.add_option("--replicate", shape.dp_replicate);
  app.add_option("--tp", shape.tp);
  app.add_option("--trace", trace, "Folder for a Kineto trace of the third step");
  CLI11_PARSE(app, argc, argv);
  if (threads > 0) at::set_num_threads(threads);
  install_caching_cpu_allocator();

  const torch::Device device = resolve_device(device_name);
  const torch::Dtype compute = dtype == "bf16" ? torch::kBFloat16 : torch::kFloat32;
  const World world = detect_world();
  shape.dp_shard = world.size / (shape.dp_replicate * shape.tp);
  const std::shared_ptr<Communicator> ranks = connect(world, {.shape = shape, .device = device});
  Mesh& mesh = ranks->mesh();
  FlatParametersOptions placement;
  placement.compute_dtype = compute;
  placement.device = device;
  placement.training = true;
  placement.mesh = &mesh;
  const std::unique_ptr<flux::Flux> owned = load_model(folder, placement);
  flux::Flux& model = *owned;
  FlatParameters& parameters = model.flat_parameters();
  const FlatGroup group = parameter_group(parameters);
  AdamOptimizer optimizer({group}, {});
  const std::vector<ElementRange> ranges = own_ranges(parameters);

  const TensorMap batch = load_tensors(folder + "/batch.safetensors");
  const int64_t samples = batch.at("target").size(0), parts = mesh.data_size(), part = mesh.data_rank();
  const int64_t first_row = samples * part / parts, rows = samples * (part + 1) / parts - first_row;
  const auto on_device = [&](const char* name) { return batch.at(name).narrow(0, first_row, rows).to(device); };
  const flux::FluxInputs inputs = {on_device("img"),     on_device("img_ids"),   on_device("txt"),
                                   on_device("txt_ids"), on_device("timesteps"), on_device("y")};
  const torch::Tensor target = on_device("target");
  const double weight = 1.0 / static_cast<double>(samples);

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
    const torch::Tensor prediction = model.forward(inputs, &saved, keep_of(recompute));
    const VelocityLoss loss = velocity_loss(prediction, target, weight);
    model.backward(saved, loss.dprediction);
    parameters.finish_backward();
    StepShare share;
    share.loss_1 = loss.per_sample_B.sum().to(torch::kFloat64).view({1}) * weight;
    share.squares_1 = own_squares(group.grad, ranges);
    const StepTotals totals = exchange(share, mesh);
    optimizer.step(1e-4, grad_norm_of_sum(totals.squares_1, 1.0).coefficient_1);
    profiler.step(++step);
    std::printf("{\"loss\": %.9g, \"seconds\": %.6f, \"peak\": %llu}\n", totals.loss_sum, now_seconds() - begin,
                static_cast<unsigned long long>(process_memory().peak_bytes));
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  return millrace::run(argc, argv);
}
