// The optimizer and its learning rate through the run.
//
// config/optimizer_rules.h lists which options of [optimizer] a rule has, and their defaults;
// config/lr_schedule_rules.h which options of [lr_scheduler] a schedule has.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/option.h"
#include "config/steps_or_part.h"

namespace millrace {

std::vector<const char*> optimizer_names();    // of all rules (config/optimizer_rules.cpp)
std::vector<const char*> lr_schedule_names();  // of all schedules (config/lr_schedule_rules.cpp)

// Every option but the name belongs to rules: if not set, it has the chosen rule's default.
struct OptimizerConfig {
  std::string name = "AdamW";
  std::optional<double> lr;
  std::optional<double> beta1, beta2, beta3;
  std::optional<double> eps, eps1, eps2;
  std::optional<double> weight_decay;
  std::optional<bool> decoupled_weight_decay, decouple, no_prox;
  std::optional<double> momentum, dampening;
  std::optional<bool> nesterov;
  std::optional<double> d0, d_coef, growth_rate;
  std::optional<int64_t> slice_p;
  std::optional<bool> use_bias_correction, safeguard_warmup;
  std::optional<int64_t> prodigy_steps;
  std::optional<bool> use_speed, factored, use_stableadamw, split_groups, split_groups_mean;
  std::optional<int64_t> warmup_steps;
  std::optional<bool> silent_sgd_phase;
  std::optional<double> r, weight_lr_power;
  std::optional<double> clip_threshold, decay_rate;
  std::optional<bool> scale_parameter, relative_step, warmup_init;
  std::optional<double> ema_decay;  // 0: no average
  std::optional<bool> in_backward;
  std::optional<bool> stochastic_rounding;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(name, {.name = "name",
                 .meaning = "update rule (docs/optimizers.md); Adam adds the weight decay to the gradient, AdamW "
                            "shrinks the weights by it",
                 .choices = optimizer_names()});
    visit(lr, {.name = "lr",
               .meaning = "base learning rate; not with Adafactor's relative_step",
               .at_least = 0,
               .torchtitan_default = "8e-4"});
    visit(beta1, {.name = "beta1",
                  .meaning = "decay of the gradient's average; None with Adafactor: no average",
                  .at_least = 0,
                  .below = 1});
    visit(beta2, {.name = "beta2",
                  .meaning = "decay of the squared gradient's average; with Lion of the gradient's",
                  .at_least = 0,
                  .below = 1});
    visit(beta3, {.name = "beta3",
                  .meaning = "decay of the sums that estimate the step size; None: the root of beta2; with CAME of the "
                             "residuals' average, with Adan of the squared one",
                  .at_least = 0,
                  .below = 1});
    visit(eps, {.name = "eps", .meaning = "added to the root of the squared average", .above = 0});
    visit(eps1, {.name = "eps1", .meaning = "added to squared gradients", .at_least = 0});
    visit(eps2, {.name = "eps2",
                 .meaning = "least scale of a parameter, with scale_parameter; with CAME added to squared residuals",
                 .at_least = 0});
    visit(weight_decay,
          {.name = "weight_decay",
           .meaning = "weight decay, on every parameter: with AdamW each step multiplies it by 1 - lr * weight_decay",
           .at_least = 0});
    visit(decoupled_weight_decay, {.name = "decoupled_weight_decay",
                                   .meaning = "do not let the base learning rate scale the weight decay: each step "
                                              "multiplies by 1 - weight_decay times the schedule's factor"});
    visit(decouple, {.name = "decouple",
                     .meaning = "shrink the weights by the weight decay; otherwise it is added to the gradient"});
    visit(no_prox, {.name = "no_prox", .meaning = "shrink the weights before the step, not after it"});
    visit(momentum, {.name = "momentum", .meaning = "decay of the gradient's sum; 0: none", .at_least = 0, .below = 1});
    visit(dampening, {.name = "dampening", .meaning = "fraction of the gradient that is not added to the momentum"});
    visit(nesterov, {.name = "nesterov", .meaning = "look one step ahead along the momentum"});
    visit(d0, {.name = "d0", .meaning = "first estimate of the step size", .above = 0});
    visit(d_coef, {.name = "d_coef", .meaning = "factor of the estimated step size", .above = 0});
    visit(growth_rate, {.name = "growth_rate",
                        .meaning = "limit of the estimate's growth from step to step; None: no limit",
                        .above = 1});
    visit(slice_p, {.name = "slice_p",
                    .meaning = "only every n-th element takes part in the estimate, which saves memory",
                    .at_least = 1});
    visit(use_bias_correction, {.name = "use_bias_correction", .meaning = "Adam's bias correction of the averages"});
    visit(prodigy_steps, {.name = "prodigy_steps",
                          .unit = "steps",
                          .meaning = "how long the step size is estimated; 0: through the whole run",
                          .at_least = 0});
    visit(use_speed, {.name = "use_speed",
                      .meaning = "estimate the step size from signs: it rises steadily, whatever the gradients' size"});
    visit(factored, {.name = "factored",
                     .meaning = "keep the row and column means of large matrices' squared averages, instead of all"});
    visit(use_stableadamw,
          {.name = "use_stableadamw", .meaning = "limit the root mean square of each parameter's update"});
    visit(split_groups, {.name = "split_groups", .meaning = "estimate a step size for each group of parameters"});
    visit(split_groups_mean,
          {.name = "split_groups_mean", .meaning = "step with the harmonic mean of the groups' step sizes"});
    visit(safeguard_warmup, {.name = "safeguard_warmup",
                             .meaning = "keep the learning rate out of the estimate's denominator, for warm-ups"});
    visit(warmup_steps, {.name = "warmup_steps",
                         .unit = "steps",
                         .meaning = "linear warm-up of the learning rate within the rule, instead of a schedule",
                         .at_least = 0});
    visit(silent_sgd_phase, {.name = "silent_sgd_phase",
                             .meaning = "change no weights in the first steps, whose squared averages are too short to "
                                        "divide by; otherwise step as SGD"});
    visit(r, {.name = "r", .meaning = "power of the step number in the average's weights"});
    visit(weight_lr_power,
          {.name = "weight_lr_power", .meaning = "power of the learning rate in the average's weights"});
    visit(clip_threshold, {.name = "clip_threshold",
                           .meaning = "largest root mean square of a parameter's update, before the learning rate",
                           .above = 0});
    visit(decay_rate,
          {.name = "decay_rate", .meaning = "step t keeps 1 - t^decay_rate of the squared averages", .below = 0});
    visit(scale_parameter, {.name = "scale_parameter",
                            .meaning = "multiply the learning rate by the root mean square of the parameter"});
    visit(relative_step, {.name = "relative_step",
                          .meaning = "let the rule choose the learning rate: the smaller of 0.01 and 1 / sqrt(step)"});
    visit(warmup_init, {.name = "warmup_init", .meaning = "with relative_step: 1e-6 times the step instead of 0.01"});
    visit(ema_decay,
          {.name = "ema_decay",
           .meaning =
               "decay of the exponential moving average of the weights, with which samples are then drawn; 0: none",
           .at_least = 0,
           .below = 1});
    visit(in_backward,
          {.name = "in_backward",
           .meaning = "change the weights of a layer as soon as its gradients are known, which then need no memory of "
                      "their own: on one rank, with one microbatch a step and without training.max_norm"});
    visit(stochastic_rounding, {.name = "stochastic_rounding",
                                .meaning = "round updates of bfloat16 weights up or down at random (training.dtype "
                                           "bfloat16), so that small ones are not lost; None: wherever weights are "
                                           "bfloat16"});
  }
  bool operator==(const OptimizerConfig&) const = default;
};

struct LrSchedulerConfig {
  std::string name = "torchtitan";
  std::optional<StepsOrPart> warmup_steps;  // unset: 200 with torchtitan's schedule, otherwise none
  std::optional<int64_t> total_steps;       // unset: training.steps
  std::optional<double> decay_ratio;        // unset: everything after the warm-up decays
  std::optional<StepsOrPart> decay_steps;   // unset: none
  std::string decay_type = "linear";
  double min_lr_factor = 0;
  double num_cycles = 1;
  double power = 1;
  double lr_end = 1e-7;
  std::optional<int64_t> timescale;
  std::string step_rules;
  std::optional<int64_t> t_max, t_0;
  int64_t t_mult = 1;
  double eta_min = 0;
  std::optional<int64_t> step_size;
  std::vector<int64_t> milestones;
  std::optional<double> gamma;   // unset: 0.1
  std::optional<double> max_lr;  // unset: optimizer.lr
  double pct_start = 0.3;
  double div_factor = 25, final_div_factor = 1e4;
  std::string anneal_strategy = "cos";
  bool three_phase = false;
  bool cycle_momentum = true;
  double base_momentum = 0.85, max_momentum = 0.95;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(name,
          {.name = "name",
           .meaning = "schedule (docs/optimizers.md): torchtitan's, or one of transformers', diffusers' and torch's",
           .choices = lr_schedule_names()});
    visit(warmup_steps,
          {.name = "warmup_steps",
           .unit = "steps",
           .meaning = "linear rise to lr: torchtitan's from lr / warmup_steps and cut to the run's length, "
                      "the others' from 0; a part of all steps as 0.1 or \"10%\"; None: 200 with "
                      "torchtitan's schedule, otherwise 0",
           .at_least = 0});
    visit(total_steps, {.name = "total_steps",
                        .unit = "steps",
                        .meaning = "length of the schedule; None: training.steps",
                        .at_least = 1});
    visit(decay_ratio, {.name = "decay_ratio",
                        .meaning = "torchtitan: fraction of all steps, at the end, over which the rate decays; 0: no "
                                   "decay; None: all steps after the warm-up",
                        .at_least = 0,
                        .at_most = 1});
    visit(decay_steps, {.name = "decay_steps",
                        .unit = "steps",
                        .meaning = "warmup_stable_decay: number of steps, at the end, over which the rate decays, or a "
                                   "fraction of all steps; None: 0",
                        .at_least = 0});
    visit(decay_type, {.name = "decay_type",
                       .meaning = "torchtitan: shape of the decay: 1 - p, 1 - sqrt(p) or (1 + cos(pi p)) / 2",
                       .choices = {"linear", "sqrt", "cosine"}});
    visit(min_lr_factor, {.name = "min_lr_factor",
                          .meaning = "learning rate at the end of the decay, as a fraction of lr",
                          .at_least = 0,
                          .at_most = 1,
                          .aliases = {"lr_scheduler.lr_min"}});
    visit(num_cycles, {.name = "num_cycles", .meaning = "how many times a cosine falls", .above = 0});
    visit(power,
          {.name = "power", .meaning = "polynomial: exponent of the remaining fraction of the steps", .above = 0});
    visit(lr_end, {.name = "lr_end", .meaning = "polynomial: the learning rate at the end", .at_least = 0});
    visit(timescale, {.name = "timescale",
                      .unit = "steps",
                      .meaning = "inverse_sqrt: steps until the rate has fallen to 1 / sqrt(2); None: the warm-up, or "
                                 "10000 without one",
                      .at_least = 1});
    visit(step_rules,
          {.name = "step_rules",
           .meaning = "piecewise_constant: \"1:10,0.1:20,0.005\" is lr before step 10, a tenth of it before "
                      "step 20, then 0.005 of it"});
    visit(t_max, {.name = "t_max",
                  .unit = "steps",
                  .meaning = "CosineAnnealingLR: steps until the rate is eta_min; it rises again after that; None: all",
                  .at_least = 1});
    visit(t_0, {.name = "t_0",
                .unit = "steps",
                .meaning = "CosineAnnealingWarmRestarts: steps until the first restart; None: all",
                .at_least = 1});
    visit(t_mult, {.name = "t_mult",
                   .meaning = "CosineAnnealingWarmRestarts: how much longer each fall takes than the one before",
                   .at_least = 1});
    visit(eta_min, {.name = "eta_min", .meaning = "the lowest learning rate of torch's cosines", .at_least = 0});
    visit(
        step_size,
        {.name = "step_size", .unit = "steps", .meaning = "StepLR: steps until the next factor gamma", .at_least = 1});
    visit(milestones, {.name = "milestones", .unit = "steps", .meaning = "MultiStepLR: steps of the factors gamma"});
    visit(gamma, {.name = "gamma",
                  .meaning = "StepLR, MultiStepLR: factor of each fall, None: 0.1; ExponentialLR: factor of each step",
                  .above = 0});
    visit(max_lr,
          {.name = "max_lr", .meaning = "OneCycleLR: the highest learning rate; None: optimizer.lr", .above = 0});
    visit(pct_start, {.name = "pct_start",
                      .meaning = "OneCycleLR: fraction of the steps in which the rate rises",
                      .at_least = 0,
                      .at_most = 1});
    visit(div_factor,
          {.name = "div_factor", .meaning = "OneCycleLR: max_lr over the rate of the first step", .above = 0});
    visit(final_div_factor, {.name = "final_div_factor",
                             .meaning = "OneCycleLR: the rate of the first step over that of the last",
                             .above = 0});
    visit(anneal_strategy, {.name = "anneal_strategy",
                            .meaning = "OneCycleLR: shape of the rise and the fall",
                            .choices = {"cos", "linear"}});
    visit(three_phase, {.name = "three_phase",
                        .meaning = "OneCycleLR: fall to the first rate as fast as it rose, then to the last one"});
    visit(cycle_momentum, {.name = "cycle_momentum",
                           .meaning = "OneCycleLR: move beta1, or SGD's momentum, against the rate, from max_momentum "
                                      "to base_momentum and back"});
    visit(base_momentum,
          {.name = "base_momentum", .meaning = "OneCycleLR: the lowest momentum", .at_least = 0, .below = 1});
    visit(max_momentum,
          {.name = "max_momentum", .meaning = "OneCycleLR: the highest momentum", .at_least = 0, .below = 1});
  }
  bool operator==(const LrSchedulerConfig&) const = default;
};

}  // namespace millrace
