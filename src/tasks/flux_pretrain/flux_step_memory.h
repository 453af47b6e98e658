// One training step of FLUX on tensors without memory: what it would take, and what it would send.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <vector>

#include "comm/mesh.h"
#include "config/run_config.h"
#include "metrics/run_plan.h"
#include "models/flux/model.h"
#include "nn/meta_memory.h"

namespace millrace {

struct FluxStep {
  flux::FluxConfig model;
  MeshShape mesh;
  torch::Dtype dtype = torch::kBFloat16;
  torch::Dtype reduce_dtype = torch::kFloat32;
  Reshard reshard = Reshard::kDefault;
  flux::Keep keep = flux::Keep::kOutputs;
  int64_t batch = 1;         // of one rank
  int64_t microbatches = 1;  // more than two measure as two
  int64_t img_size = 256, latent_channels = 16, downscale = 8, patch_size = 2, text_tokens = 256;
  size_t (*rounding)(size_t bytes) = nullptr;  // of the allocator of the real device

  int64_t image_tokens() const {
    const int64_t side = img_size / (downscale * patch_size);
    return side * side;
  }
};

struct GroupTraffic {
  MeshAxis axis;
  int ranks = 1;
  Traffic traffic;
};

struct StepMemory {
  int64_t parameters = 0, gradients = 0, optimizer = 0;  // bytes, of one rank
  int64_t collective_buffers = 0;                        // at the peak
  int64_t peak = 0;                                      // with activations
  int64_t num_parameters = 0;                            // of the whole model
  std::vector<ParameterUnit> units;
  std::vector<GroupTraffic> traffic;  // of one step of rank 0

  int64_t activations() const { return peak - parameters - gradients - optimizer - collective_buffers; }
};

// Runs the model's own code, forward, backward and update, as rank 0 of a mesh whose other ranks do not exist.
StepMemory measure_step(const RunConfig& config, const FluxStep& step);

}  // namespace millrace
