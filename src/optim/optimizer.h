// The interface of update rules for the step loop, checkpoints and the planner.
//
// Rules work on flat groups (flat_group.h) and differ in their state. optimizer_table.h makes one by its name.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "optim/flat_group.h"
#include "optim/optimizer_state.h"

namespace millrace {

class MovingAverage;

// While it lives, the model computes with weights other than the trained ones; its destructor restores everything bit
// for bit. No optimizer step and no checkpoint may happen in between.
class EvaluationWeights {
 public:
  virtual ~EvaluationWeights() = default;
};

class Optimizer {
 public:
  // The groups' tensors are shared, not copied. Throws LogicError unless they satisfy flat_group.h's conditions.
  explicit Optimizer(std::vector<FlatGroup> groups);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // One update with this learning rate, times each group's factor; leaves zeros in the gradients. coefficient_1: a
  // factor applied to the gradients first (see clip.h); undefined means 1. Collective if there are several ranks.
  void step(double lr, const torch::Tensor& coefficient_1 = {});

  // The same update in parts, for gradients that exist for one group at a time, if steps_by_group(): begin_step(), then
  // step_group() for each group once, in any order, then end_step(). grad: of the group, in place of its own; zeros
  // afterwards.
  virtual bool steps_by_group() const { return false; }
  void begin_step(double lr);
  void step_group(size_t group, const torch::Tensor& grad);
  void end_step();

  int64_t step_count() const { return step_count_; }  // updates so far
  void set_step_count(int64_t count) { step_count_ = count; }

  // With the step count, everything needed to restore the optimizer. Always the same list in the same order.
  virtual std::vector<StateTensor> state() const = 0;
  // Starts over from the current weights: for weights that are set after construction, without a state.
  virtual void restart() {}
  // Lends the weights for samples, validation and the finished model if they differ from the trained ones; otherwise
  // null.
  virtual std::unique_ptr<EvaluationWeights> evaluation_weights() { return nullptr; }

  // The same weights in fp32, one new buffer per group, which checkpoints keep in addition to the trained ones.
  // Empty if they do not differ.
  virtual std::vector<torch::Tensor> averaged_weights() const { return {}; }

  // For logs: the effective step size of the last step, for rules that adapt it themselves. Asked after every step: it
  // must not wait for a device.
  virtual double effective_lr(double lr) const { return lr; }

  // Replaces beta1, or SGD's momentum, for the steps that follow. Throws ConfigError unless the rule has one that may
  // change.
  virtual void set_momentum(double momentum);

  // An average that every step updates, if possible in the same pass over memory; null: none. Must outlive
  // this.
  void set_average(MovingAverage* average);

  const std::vector<FlatGroup>& groups() const { return groups_; }

 protected:
  // step_count() already counts this update.
  virtual void update(double lr, const torch::Tensor& coefficient_1) = 0;
  // Of one group; with steps_by_group().
  virtual void update_group(size_t group, double lr, const torch::Tensor& coefficient_1);
  // Whether update() itself updates average().
  virtual bool updates_average() const { return false; }
  MovingAverage* average() const { return average_; }

 private:
  std::vector<FlatGroup> groups_;
  int64_t step_count_ = 0;
  double begun_lr_ = 0;  // of a step in parts
  MovingAverage* average_ = nullptr;
};

}  // namespace millrace
