// The optimizer and its learning rate through the run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "config/option.h"

namespace millrace {

struct OptimizerConfig {
  std::string name = "AdamW";
  double lr = 1e-4;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double ema_decay = 0;  // 0: no average
  bool stochastic_rounding = false;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(name, {.name = "name",
                 .meaning = "update rule; Adam adds the weight decay to the gradient, AdamW shrinks the weights by it",
                 .choices = {"AdamW", "Adam"}});
    visit(lr, {.name = "lr", .meaning = "base learning rate", .at_least = 0, .torchtitan_default = "8e-4"});
    visit(beta1, {.name = "beta1", .meaning = "decay of the gradient's average", .at_least = 0, .below = 1});
    visit(beta2, {.name = "beta2", .meaning = "decay of the squared gradient's average", .at_least = 0, .below = 1});
    visit(eps, {.name = "eps", .meaning = "added to the root of the squared average", .above = 0});
    visit(weight_decay,
          {.name = "weight_decay",
           .meaning = "weight decay, on every parameter: with AdamW each step multiplies it by 1 - lr * weight_decay",
           .at_least = 0});
    visit(ema_decay,
          {.name = "ema_decay",
           .meaning = "decay of the exponential moving average of the weights, which then draws the samples; 0: none",
           .at_least = 0,
           .below = 1});
    visit(stochastic_rounding, {.name = "stochastic_rounding",
                                .meaning = "round updates of bfloat16 weights up or down at random (training.dtype "
                                           "bfloat16), so that small ones are not lost"});
  }
  bool operator==(const OptimizerConfig&) const = default;
};

struct LrSchedulerConfig {
  int64_t warmup_steps = 200;
  std::optional<int64_t> total_steps;  // unset: training.steps
  std::optional<double> decay_ratio;   // unset: everything after the warm-up decays
  std::string decay_type = "linear";
  double min_lr_factor = 0;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(warmup_steps, {.name = "warmup_steps",
                         .unit = "steps",
                         .meaning = "linear rise from lr / warmup_steps to lr; cut to the run's length",
                         .at_least = 0});
    visit(total_steps, {.name = "total_steps",
                        .unit = "steps",
                        .meaning = "length of the schedule; None: training.steps",
                        .at_least = 1});
    visit(decay_ratio, {.name = "decay_ratio",
                        .meaning = "part of all steps, at the end, that decays; 0: no decay; None: everything after "
                                   "the warm-up decays",
                        .at_least = 0,
                        .at_most = 1});
    visit(decay_type, {.name = "decay_type",
                       .meaning = "shape of the decay: 1 - p, 1 - sqrt(p) or (1 + cos(pi p)) / 2",
                       .choices = {"linear", "sqrt", "cosine"}});
    visit(min_lr_factor, {.name = "min_lr_factor",
                          .meaning = "end of the decay, as a part of lr",
                          .at_least = 0,
                          .at_most = 1,
                          .aliases = {"lr_scheduler.lr_min"}});
  }
  bool operator==(const LrSchedulerConfig&) const = default;
};

}  // namespace millrace
