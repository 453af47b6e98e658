// A task as the planner sees it; everything else about a plan is general.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "comm/mesh.h"
#include "config/run_config.h"
#include "metrics/step_time.h"
#include "parallel/flat_parameters.h"

namespace millrace {

class OffloadedInputs;
class QuantisedWeight;

// The sizes of one training step that the planner varies.
struct PlannedStep {
  MeshShape mesh;
  FlatParametersOptions placement;             // on the meta device, without a mesh
  std::string recompute = "selective";         // activation_checkpoint.mode
  bool offload_inputs = false;                 // activation_checkpoint.offload, where recompute is full
  int64_t batch = 1;                           // of one rank
  int64_t microbatches = 1;                    // more than two take as much memory as two
  size_t (*rounding)(size_t bytes) = nullptr;  // of the allocator of the real device

  int64_t data_size() const { return int64_t{mesh.dp_replicate} * mesh.dp_shard; }
  int64_t element_size() const { return placement.compute_dtype == torch::kBFloat16 ? 2 : 4; }
};

// The trained parameters, on the meta device.
class StepModel {
 public:
  virtual ~StepModel() = default;
  virtual FlatParameters& parameters() = 0;
  // If what is trained is separate from the model (adapters): the model's own frozen parameters, gathered unit by unit;
  // null: the model itself is trained.
  virtual FlatParameters* frozen() { return nullptr; }
  // Frozen matrices beside those, which are stored quantised: bytes of each rank.
  virtual int64_t quantised_bytes() { return 0; }
  virtual int64_t quantised_bytes(const QuantisedWeight& /*one*/) { return 0; }
  // The model's, after a microbatch that kept its blocks' inputs in host memory.
  virtual const OffloadedInputs* offloaded_inputs() = 0;
  // Forward and backward of one available microbatch, with the code that the task trains with.
  virtual void train_microbatch() = 0;
};

// The frozen networks before the model: they run first, and their activations and the model's are never alive together.
struct FrozenNetworks {
  int64_t weight_bytes = 0;
  int64_t activation_bytes = 0;  // for the step's batch
  double flops_per_sample = 0;
};

// A change of the configuration that takes less memory.
struct PlanRemedy {
  std::string text;  // as options of the command line
  std::function<void(RunConfig&)> apply;
  std::string not_with = {};  // an option of another one with which it does not go
};

class PlannedTask {
 public:
  virtual ~PlannedTask() = default;

  // One line about the model. num_parameters: counted.
  virtual std::string describe(int64_t num_parameters) const = 0;
  virtual int64_t num_heads() const = 0;  // must be divisible by the tp axis
  virtual int64_t tokens_per_sample() const = 0;
  virtual double model_flops_per_sample() const = 0;  // forward and backward, without recomputation

  // placement: of the step, with the mesh of a rank.
  virtual std::unique_ptr<StepModel> build(const PlannedStep& step, const FlatParametersOptions& placement) const = 0;
  // One stage per unit in the order of the forward pass, and of the backward pass; collectives are left at 0.
  virtual std::vector<StageWork> forward_stages(const PlannedStep& step,
                                                const std::vector<ParameterUnit>& units) const = 0;
  virtual std::vector<StageWork> backward_stages(const PlannedStep& step,
                                                 const std::vector<ParameterUnit>& units) const = 0;
  virtual FrozenNetworks frozen_networks(const PlannedStep& step) const = 0;
  // What a step of this task can do without, the cheapest first; besides what the planner knows of all tasks.
  virtual std::vector<PlanRemedy> remedies() const { return {}; }
  // Blocks of a frozen model, any number of which may lie in host memory (lora.offload_blocks); 0: the task has none.
  virtual int64_t frozen_blocks() const { return 0; }
  // The largest batch of one rank where the data says it, not training.local_batch_size; 0: it does not.
  virtual int64_t batch_of_data(int64_t /*data_ranks*/) const { return 0; }
  // The assumptions made, for the reader of the plan.
  virtual std::vector<std::string> notes(const PlannedStep& step) const = 0;
};

// on_cpu: plan for CPU tensors. Throws ConfigError if the configuration is inconsistent.
using MakePlannedTask = std::unique_ptr<PlannedTask> (*)(const RunConfig& config, bool on_cpu);

}  // namespace millrace
