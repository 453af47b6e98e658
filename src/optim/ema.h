// An exponential moving average of the weights: samples and exports drawn from it are smoother than from the last
// step's weights. The optimizer keeps it up to date in the pass that steps the weights.
#pragma once

#include <cstdint>
#include <vector>

#include "optim/flat_group.h"

namespace millrace {

// The decay in optimizer step number `step`, counted from 1: min(decay, (1 + step) / (10 + step)), so that the first
// weights are soon forgotten.
double ema_decay_at(double decay, int64_t step);

// While it lives, the model computes with the averaged weights; afterwards weights and averages are bit for bit what
// they were. No optimizer step and no save may happen in between.
class UseAveragedWeights {
 public:
  // averages: one fp32 buffer per group (AdamOptimizer::averages()).
  UseAveragedWeights(std::vector<FlatGroup> groups, std::vector<torch::Tensor> averages);
  ~UseAveragedWeights();
  UseAveragedWeights(const UseAveragedWeights&) = delete;
  UseAveragedWeights& operator=(const UseAveragedWeights&) = delete;

 private:
  std::vector<FlatGroup> groups_;
  std::vector<torch::Tensor> averages_;
  std::vector<torch::Tensor> saved_;  // bf16 weights without a master, which nothing else can restore
};

}  // namespace millrace
