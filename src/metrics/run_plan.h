// The output of `plan` for a run: numbers, as text for people and as JSON for programs. Knows no model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace millrace {

using NamedBytes = std::pair<std::string, int64_t>;

// One rank's memory at the peak of a step.
struct MemoryPlan {
  std::string recompute;          // activation_checkpoint.mode
  std::vector<NamedBytes> parts;  // parameters, gradients, optimizer, encoders, gathered units, activations
  int64_t peak_bytes = 0;         // their sum
  int64_t largest_local_batch = 0;
};

struct AxisTraffic {
  std::string axis;  // "dp_shard"
  int ranks = 1;
  std::string collective;  // "all_gather"
  int64_t calls = 0;       // per step
  int64_t sent_bytes = 0;  // per step and rank, on a ring
  double bandwidth = 0;    // bytes per second that a rank is expected to send
};

// Frozen blocks in host memory (lora.offload_blocks).
struct OffloadPlan {
  int64_t blocks = 0, of_blocks = 0;
  int64_t host_bytes = 0;     // of one rank
  int64_t fetched_bytes = 0;  // per step and rank
  double bandwidth = 0;       // bytes per second that are expected to arrive
};

// Inputs of blocks in host memory (activation_checkpoint.offload).
struct OffloadedInputsPlan {
  int64_t blocks = 0;
  int64_t host_bytes = 0;    // of one rank
  int64_t copied_bytes = 0;  // per step and rank, there and back
  double bandwidth = 0;      // bytes per second that are expected to arrive
};

struct TimePlan {
  double step_seconds = 0;
  // Parts that add up to step_seconds.
  double compute_seconds = 0, tensor_parallel_seconds = 0, waiting_seconds = 0, optimizer_seconds = 0,
         encoder_seconds = 0;
  double samples_per_second_per_gpu = 0;
  double mfu = 0;  // model FLOPs over peak
  double hfu = 0;  // with recomputation and encoders
};

struct RunPlan {
  std::string model;  // one line
  std::string gpu;
  int gpus = 1, gpus_per_node = 1;
  std::string mesh;  // "dp_replicate 2 x dp_shard 8 x tp 1"
  std::string dtype;
  int64_t local_batch = 0, microbatches = 1, global_batch = 0, tokens_per_sample = 0;
  int64_t parameters = 0;
  double model_flops_per_sample = 0;
  double hardware_flops_per_sample = 0;  // with recomputation and encoders

  int64_t memory_bytes = 0;    // of a GPU
  int64_t reserved_bytes = 0;  // of it, for the driver, libraries and fragmentation
  std::vector<MemoryPlan> modes;
  size_t mode = 0;  // the configured one of modes
  std::vector<AxisTraffic> traffic;
  std::optional<OffloadPlan> offload;                   // unset: all of the model is on the GPU
  std::optional<OffloadedInputsPlan> offloaded_inputs;  // unset: they stay on the GPU
  std::optional<TimePlan> time;                         // unset if the hardware's speed is unknown
  std::string obstacle;                                 // the first thing that does not fit; empty: everything fits
  std::vector<std::string> remedies;                    // overrides that make it fit, the cheapest first
  std::vector<std::string> notes;

  const MemoryPlan& memory() const { return modes.at(mode); }
  int64_t usable_bytes() const { return memory_bytes - reserved_bytes; }
  bool fits() const { return memory().peak_bytes <= usable_bytes(); }
};

std::string to_text(const RunPlan& plan);
std::string to_json(const RunPlan& plan);  // one object
// A table of the same run with several batches, one row each.
std::string batches_text(const std::vector<RunPlan>& plans);
std::string sweep_text(const std::vector<RunPlan>& plans);  // a table, one row per mesh, the fastest that fits first
std::string plans_json(const std::vector<RunPlan>& plans);  // an array in the same order
void sort_sweep(std::vector<RunPlan>& plans);

}  // namespace millrace
