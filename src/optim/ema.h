// An exponential moving average of the weights: samples and exports from it are smoother than from the last
// step's weights. It is separate from the optimizer, which updates it in the same pass as the weights if its kernel
// supports that.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "optim/flat_group.h"
#include "optim/optimizer.h"

namespace millrace {

// The decay in optimizer step number `step`, counted from 1: min(decay, (1 + step) / (10 + step)), so that the initial
// weights are soon forgotten.
double ema_decay_at(double decay, int64_t step);

class MovingAverage {
 public:
  // Starts at the current weights. Throws ConfigError unless the decay is in [0, 1).
  MovingAverage(std::vector<FlatGroup> groups, double decay);

  // average = d * average + (1 - d) * weights, d = decay_at(step).
  void update(int64_t step);
  double decay_at(int64_t step) const { return ema_decay_at(decay_, step); }
  // Sets the average to the current weights: for weights loaded after construction.
  void restart();

  const std::vector<torch::Tensor>& buffers() const { return buffers_; }  // one per group, fp32
  // Lends the averaged weights to the model.
  std::unique_ptr<EvaluationWeights> evaluation_weights() const;

 private:
  std::vector<FlatGroup> groups_;
  double decay_;
  std::vector<torch::Tensor> buffers_;
};

}  // namespace millrace
