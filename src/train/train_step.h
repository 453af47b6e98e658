// One training step: the gradients of this rank's microbatches, then the update with the gradients of all ranks.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "checkpoint/peers.h"
#include "comm/communicator.h"
#include "config/run_config.h"
#include "metrics/metric_logger.h"
#include "optim/ema.h"
#include "optim/lr_schedule.h"
#include "optim/optimizer.h"
#include "train/step_totals.h"
#include "train/task.h"

namespace millrace {

class TrainStep {
 public:
  // All arguments must outlive it. Throws ConfigError for inconsistent options.
  TrainStep(Task& task, const RunConfig& config, Communicator& ranks, Peers& peers);

  int64_t microbatches() const { return microbatches_; }
  int64_t samples() const { return samples_; }  // of all ranks
  const LrSchedule& schedule() const { return schedule_; }
  Optimizer& optimizer() { return *optimizer_; }
  const MovingAverage* average() const { return average_.get(); }  // null: no average is kept
  // Lends the weights to validate and draw with while it lives; null: the trained ones.
  std::unique_ptr<EvaluationWeights> evaluation_weights();

  // Forward and backward over this rank's microbatches. The first must have arrived: Task::next_microbatch().
  // step: its number, counted from 1.
  StepShare compute(int64_t step);

  // The update. Divides loss and gradients by the step's weight, as part of the clipping coefficient. A step with
  // weight 0 has nothing to learn from: it changes neither weights nor optimizer state, is logged as such,
  // and has a NaN loss.
  //
  // step: its number, counted from 1. All ranks have the same totals. Throws NumericsError on all ranks when a loss
  // or gradient is not finite; nothing has changed then, or, with optimizer.in_backward, what the backward pass reached
  // before that gradient.
  StepMetrics update(int64_t step, const StepShare& share, const StepTotals& totals);

 private:
  std::vector<FlatGroup> make_groups();
  void begin_in_backward(int64_t step);
  void receive_unit(size_t unit, const torch::Tensor& grad);
  double rate_of(int64_t step) const { return optimizer_config_.lr.value_or(1) * schedule_.factor(step - 1); }
  std::unique_ptr<MovingAverage> make_average();

  Task& task_;
  const RunConfig& config_;
  Communicator& ranks_;
  Peers& peers_;
  int64_t microbatches_, samples_;
  double expected_weight_;            // of a step
  OptimizerConfig optimizer_config_;  // with the defaults of its rule
  LrSchedule schedule_;
  torch::Tensor grad_;         // of all groups: accumulated_, or the parameters' own
  torch::Tensor accumulated_;  // sums of narrow gradients, if this rank has all microbatches; else undefined
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<MovingAverage> average_;
  std::vector<ElementRange> own_ranges_;
  // With optimizer.in_backward the scale is the step's weight itself, and each unit's group is updated during the
  // backward pass.
  double scale_weight_;  // by which loss and gradients are divided while they are summed
  bool changes_weights_ = false;
  torch::Tensor squares_1_;   // fp64, one element: of the units so far
  std::string bad_gradient_;  // the first one that is not finite; from then on nothing changes
};

}  // namespace millrace
