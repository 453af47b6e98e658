// What every update rule is to the step loop, to checkpoints and to the planner.
//
// Rules work on flat groups (flat_group.h) and differ in what they remember. optimizer_table.h makes one by its name.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "optim/flat_group.h"
#include "optim/optimizer_state.h"

namespace millrace {

class MovingAverage;

// While it lives, the model computes with other weights than the ones being trained. Afterwards everything is bit for
// bit what it was. No optimizer step and no checkpoint may happen in between.
class EvaluationWeights {
 public:
  virtual ~EvaluationWeights() = default;
};

class Optimizer {
 public:
  // The groups' tensors are shared, not copied. Throws LogicError unless they keep flat_group.h's promises.
  explicit Optimizer(std::vector<FlatGroup> groups);
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // One update with this learning rate, times each group's factor; leaves zeros in the gradients. coefficient_1: what
  // gradients are multiplied with first (see clip.h); undefined means 1. With ranks, all of them call it together.
  void step(double lr, const torch::Tensor& coefficient_1 = {});

  int64_t step_count() const { return step_count_; }  // updates so far
  void set_step_count(int64_t count) { step_count_ = count; }

  // Together with the step count all there is to restore. The same list in the same order at any time.
  virtual std::vector<StateTensor> state() const = 0;
  // Starts anew from the present weights: for weights that are set after construction, without a state.
  virtual void restart() {}
  // The weights for samples, validation and the finished model, where they are not the ones that are trained; otherwise
  // null.
  virtual std::unique_ptr<EvaluationWeights> evaluation_weights() { return nullptr; }

  // The same weights in fp32, one buffer per group, made for the occasion: what checkpoints keep beside those that are
  // trained. Empty where there are no others.
  virtual std::vector<torch::Tensor> averaged_weights() const { return {}; }

  // For logs: the step size that the rule makes of the last step's learning rate, where it finds one by itself.
  virtual double effective_lr(double lr) const { return lr; }

  // An average that every step brings up to date, if it can in the same pass over memory; null: none. Must outlive
  // this.
  void set_average(MovingAverage* average);

  const std::vector<FlatGroup>& groups() const { return groups_; }

 protected:
  // step_count() counts this update already.
  virtual void update(double lr, const torch::Tensor& coefficient_1) = 0;
  // Whether update() itself brings average() up to date.
  virtual bool updates_average() const { return false; }
  MovingAverage* average() const { return average_; }

 private:
  std::vector<FlatGroup> groups_;
  int64_t step_count_ = 0;
  MovingAverage* average_ = nullptr;
};

}  // namespace millrace
