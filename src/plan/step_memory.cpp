#include "plan/step_memory.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "base/error.h"
#include "comm/communicator.h"
#include "nn/meta_memory.h"
#include "nn/unplaced.h"
#include "optim/clip.h"
#include "optim/ema.h"
#include "optim/optimizer_table.h"
#include "parallel/offloaded_inputs.h"
#include "train/parameter_group.h"

namespace millrace {
namespace {

int64_t bytes_of(const torch::Tensor& x) {
  return x.defined() ? static_cast<int64_t>(x.nbytes()) : 0;
}

std::vector<GroupTraffic> traffic_of(Mesh& mesh) {
  std::vector<GroupTraffic> result;
  for (const MeshAxis axis :
       {MeshAxis::kReplicate, MeshAxis::kShard, MeshAxis::kTp, MeshAxis::kData, MeshAxis::kWorld}) {
    const Group& group = mesh.group(axis);
    if (group.traffic().total().calls > 0) result.push_back({axis, group.size(), group.traffic()});
  }
  return result;
}

// The bytes in host memory of every frozen unit; 0: it lies on the device.
std::vector<int64_t> host_bytes(StepModel& model, const FlatParameters& frozen) {
  std::vector<int64_t> bytes(frozen.units().size(), 0);
  const OffloadedUnits& offloaded = *frozen.offloaded();
  for (size_t unit = 0; unit < bytes.size(); ++unit) {
    if (!offloaded.has(unit)) continue;
    bytes[unit] = bytes_of(offloaded.values(unit));
    for (const QuantisedWeight* weight : offloaded.quantised(unit)) bytes[unit] += model.quantised_bytes(*weight);
  }
  return bytes;
}

}  // namespace

StepMemory measure_step(const RunConfig& config, const PlannedTask& task, const PlannedStep& step) {
  MetaMemory memory(step.rounding);
  const MetaParameters on_meta;
  const std::shared_ptr<Communicator> ranks =
      fake(step.mesh.size(), 0, CommOptions{.shape = step.mesh, .device = torch::kMeta});
  FlatParametersOptions placement = step.placement;
  placement.mesh = &ranks->mesh();
  const std::unique_ptr<StepModel> model = task.build(step, placement);
  FlatParameters& flat = model->parameters();

  FlatGroup group = parameter_group(flat);
  if (step.microbatches > 1 && !flat.sums_microbatches()) {
    group.grad = torch::zeros_like(group.grad, torch::kFloat32);  // the trainer's fp32 sum of narrow gradients
  }
  StepMemory result;
  result.parameters = bytes_of(flat.compute()) + bytes_of(group.model_copy.defined() ? flat.master() : torch::Tensor());
  const bool in_backward = flat.hands_over_gradients();
  if (!in_backward) {
    result.gradients = bytes_of(flat.grad()) + (group.grad.is_same(flat.grad()) ? 0 : bytes_of(group.grad));
  }
  FlatParameters* frozen = model->frozen();
  ShardedMatrices* sharded = frozen != nullptr ? frozen->sharded_matrices() : nullptr;
  if (sharded) sharded->lay_out([&](const QuantisedWeight& weight) { return model->quantised_bytes(weight); });
  // No meta tensor stands for matrices that this rank holds whole.
  int64_t quantised = sharded ? 0 : model->quantised_bytes();
  if (const OffloadedUnits* offloaded = frozen != nullptr ? frozen->offloaded() : nullptr) {
    result.host_bytes = host_bytes(*model, *frozen);
    for (size_t unit = 0; unit < result.host_bytes.size(); ++unit) {
      if (!offloaded->has(unit)) continue;
      for (const QuantisedWeight* weight : offloaded->quantised(unit)) quantised -= model->quantised_bytes(*weight);
    }
    result.offload_buffers = 2 * *std::max_element(result.host_bytes.begin(), result.host_bytes.end());
  }
  if (frozen != nullptr) {
    result.frozen = bytes_of(frozen->compute()) + quantised + (sharded ? sharded->own_bytes() : 0);
  }
  const std::unique_ptr<Optimizer> optimizer =
      make_optimizer({.groups = in_backward ? unit_groups(flat) : std::vector{group},
                      .config = config.optimizer,
                      .ranks = RankSums(ranks->mesh())});
  for (const StateTensor& state : optimizer->state()) result.optimizer += bytes_of(state.tensor);
  std::unique_ptr<MovingAverage> average;
  if (const double decay = config.optimizer.ema_decay.value_or(0); decay > 0) {
    average = std::make_unique<MovingAverage>(optimizer->groups(), decay);
    optimizer->set_average(average.get());
    for (const torch::Tensor& buffer : average->buffers()) result.optimizer += bytes_of(buffer);
  }

  memory.restart_peak();
  {
    const MetaMemoryLabel label("activations");
    if (in_backward) {
      flat.receive_gradients([&](size_t unit, const torch::Tensor& grad) { optimizer->step_group(unit, grad); });
      optimizer->begin_step(1e-4);
    }
    const int64_t microbatches = std::min<int64_t>(step.microbatches, 2);
    for (int64_t i = 0; i < microbatches; ++i) {
      flat.set_last_microbatch(i + 1 == microbatches);
      model->train_microbatch();
    }
    flat.finish_backward();
    if (in_backward) {
      optimizer->end_step();
    } else {
      optimizer->step(1e-4, global_grad_norm(optimizer->groups(), 1).coefficient_1);
    }
  }
  const MetaMemory::Use peak = memory.peak();
  const auto labelled = [&](const char* label) {
    const auto found = peak.by_label.find(label);
    return found == peak.by_label.end() ? 0 : found->second;
  };
  result.collective_buffers = labelled("collective buffers");
  if (in_backward) result.gradients = labelled("gradients");  // of a unit at a time
  result.peak = peak.bytes + quantised;
  // The meta buffers have the units' parameters alone.
  if (result.offload_buffers > 0) result.peak += result.offload_buffers - frozen->offloaded()->buffer_bytes();
  result.num_parameters = flat.num_parameters();
  result.units = frozen != nullptr ? frozen->units() : flat.units();
  for (size_t unit = 0; sharded && unit < result.units.size(); ++unit) {
    result.matrix_bytes.push_back(sharded->bytes(unit));
  }
  if (const OffloadedInputs* inputs = model->offloaded_inputs()) {
    for (size_t unit = 0; unit < result.units.size(); ++unit) result.input_bytes.push_back(inputs->host_bytes(unit));
  }
  if (frozen != nullptr) result.adapter_size = flat.layout().size();
  result.traffic = traffic_of(ranks->mesh());
  return result;
}

}  // namespace millrace
