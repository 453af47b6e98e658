// The arithmetic of FLUX's forward and backward passes, unit by unit, for planned step times.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metrics/step_time.h"
#include "models/flux/config.h"
#include "nn/recompute.h"
#include "parallel/flat_layout.h"

namespace millrace {

struct FluxWorkSizes {
  flux::FluxConfig model;
  int64_t batch = 1;  // samples of one rank
  int64_t image_tokens = 0, text_tokens = 0;
  Keep keep = Keep::kOutputs;
  int tp = 1;
  int64_t element_size = 2;  // bytes of the compute dtype
  bool frozen = false;       // no gradients of the weights: adapters are trained
};

// One stage per unit, in the order of the forward pass and of the backward pass; collectives are left at 0. units:
// those of FlatParameters, with this rank's sizes on the tp axis.
std::vector<StageWork> forward_stages(const FluxWorkSizes& sizes, const std::vector<ParameterUnit>& units);
std::vector<StageWork> backward_stages(const FluxWorkSizes& sizes, const std::vector<ParameterUnit>& units);

}  // namespace millrace
