#include "optim/lr_schedule_table.h"

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "config/lr_schedule_rules.h"
#include "optim/lr_curves.h"
#include "optim/torch_curves.h"
#include "optim/torchtitan_schedule.h"

namespace millrace {
namespace {

struct Setup {
  const LrSchedulerConfig& config;
  CurveSteps steps;
  double base_lr;
};

// cycles as sd-scripts counts them: one is a fall from 1 to the floor.
double half_cycles(const Setup& setup) {
  return setup.config.num_cycles / 2;
}

LrSchedule make(const Setup& setup, std::function<double(int64_t)> factor) {
  return {setup.steps.warmup, std::move(factor)};
}

LrSchedule make_torchtitan(const Setup& setup) {
  const LrSchedulerConfig& config = setup.config;
  const auto schedule =
      std::make_shared<TorchtitanSchedule>(TorchtitanScheduleOptions{.total_steps = setup.steps.total,
                                                                     .warmup_steps = setup.steps.warmup,
                                                                     .decay_ratio = config.decay_ratio,
                                                                     .decay_type = parse_decay_type(config.decay_type),
                                                                     .min_lr_factor = config.min_lr_factor});
  return {schedule->warmup_steps(), [schedule](int64_t step) { return schedule->factor(step); }};
}
LrSchedule make_constant(const Setup& setup) {
  return make(setup, [steps = setup.steps](int64_t step) { return constant_factor(step, steps); });
}
LrSchedule make_linear(const Setup& setup) {
  return make(setup, [steps = setup.steps](int64_t step) { return linear_factor(step, steps); });
}
LrSchedule make_cosine(const Setup& setup) {
  return make(setup, [steps = setup.steps](int64_t step) { return cosine_factor(step, steps, 0.5, 0); });
}
LrSchedule make_cosine_with_restarts(const Setup& setup) {
  const double cycles = setup.config.num_cycles;
  return make(setup,
              [steps = setup.steps, cycles](int64_t step) { return cosine_with_restarts_factor(step, steps, cycles); });
}
LrSchedule make_cosine_with_min_lr(const Setup& setup) {
  const double cycles = half_cycles(setup), floor = setup.config.min_lr_factor;
  return make(setup,
              [steps = setup.steps, cycles, floor](int64_t step) { return cosine_factor(step, steps, cycles, floor); });
}
LrSchedule make_polynomial(const Setup& setup) {
  const double power = setup.config.power, end = setup.config.lr_end / setup.base_lr;
  if (!(end < 1)) {
    throw ConfigError(
        str("[lr_scheduler.lr_end] expected less than optimizer.lr, ", setup.base_lr, ", got ", setup.config.lr_end));
  }
  return make(setup,
              [steps = setup.steps, power, end](int64_t step) { return polynomial_factor(step, steps, power, end); });
}
LrSchedule make_inverse_sqrt(const Setup& setup) {
  constexpr int64_t kWithoutWarmup = 10000;
  const int64_t by_warmup = setup.steps.warmup > 0 ? setup.steps.warmup : kWithoutWarmup;
  const int64_t timescale = setup.config.timescale.value_or(by_warmup);
  return make(setup,
              [steps = setup.steps, timescale](int64_t step) { return inverse_sqrt_factor(step, steps, timescale); });
}
LrSchedule make_warmup_stable_decay(const Setup& setup) {
  const LrSchedulerConfig& config = setup.config;
  const int64_t decay = config.decay_steps.value_or(StepsOrPart{}).of(setup.steps.total);
  if (setup.steps.warmup + decay > setup.steps.total) {
    throw ConfigError(str("[lr_scheduler.decay_steps] expected at most ", setup.steps.total - setup.steps.warmup,
                          " steps beside ", setup.steps.warmup, " of warm-up, got ", decay));
  }
  return make(setup, [steps = setup.steps, decay, cycles = half_cycles(setup), floor = config.min_lr_factor](
                         int64_t step) { return warmup_stable_decay_factor(step, steps, decay, cycles, floor); });
}
LrSchedule make_piecewise_constant(const Setup& setup) {
  return make(setup,
              [pieces = PiecewiseConstant(setup.config.step_rules)](int64_t step) { return pieces.factor(step); });
}

// A learning rate as a factor of the base rate.
double as_factor(const Setup& setup, double lr) {
  return setup.base_lr > 0 ? lr / setup.base_lr : 0;
}

LrSchedule make_cosine_annealing(const Setup& setup) {
  const int64_t half_period = setup.config.t_max.value_or(setup.steps.total);
  const double end = as_factor(setup, setup.config.eta_min);
  return make(setup, [=](int64_t step) { return cosine_annealing_factor(step, half_period, end); });
}
LrSchedule make_warm_restarts(const Setup& setup) {
  const int64_t first = setup.config.t_0.value_or(setup.steps.total), growth = setup.config.t_mult;
  const double end = as_factor(setup, setup.config.eta_min);
  return make(setup, [=](int64_t step) { return warm_restarts_factor(step, first, growth, end); });
}
constexpr double kTorchGamma = 0.1;
LrSchedule make_step(const Setup& setup) {
  const int64_t step_size = *setup.config.step_size;
  const double gamma = setup.config.gamma.value_or(kTorchGamma);
  return make(setup, [=](int64_t step) { return step_factor(step, step_size, gamma); });
}
LrSchedule make_multi_step(const Setup& setup) {
  const double gamma = setup.config.gamma.value_or(kTorchGamma);
  return make(setup, [milestones = setup.config.milestones, gamma](int64_t step) {
    return multi_step_factor(step, milestones, gamma);
  });
}
LrSchedule make_exponential(const Setup& setup) {
  return make(setup, [gamma = *setup.config.gamma](int64_t step) { return exponential_factor(step, gamma); });
}
LrSchedule make_one_cycle(const Setup& setup) {
  const LrSchedulerConfig& config = setup.config;
  const OneCycle cycle = {.total_steps = setup.steps.total,
                          .max_factor = config.max_lr ? as_factor(setup, *config.max_lr) : 1,
                          .pct_start = config.pct_start,
                          .div_factor = config.div_factor,
                          .final_div_factor = config.final_div_factor,
                          .three_phase = config.three_phase,
                          .linear = config.anneal_strategy == "linear",
                          .base_momentum = config.base_momentum,
                          .max_momentum = config.max_momentum};
  std::function<double(int64_t)> momentum;
  if (config.cycle_momentum) momentum = [cycle](int64_t step) { return cycle.momentum(step); };
  return {setup.steps.warmup, [cycle](int64_t step) { return cycle.factor(step); }, std::move(momentum)};
}

struct LrScheduleRow {
  std::string_view name;
  LrSchedule (*make)(const Setup& setup);
};

constexpr LrScheduleRow kLrSchedules[] = {
    {"torchtitan", make_torchtitan},
    {"constant", make_constant},
    {"constant_with_warmup", make_constant},
    {"linear", make_linear},
    {"cosine", make_cosine},
    {"cosine_with_restarts", make_cosine_with_restarts},
    {"cosine_with_min_lr", make_cosine_with_min_lr},
    {"polynomial", make_polynomial},
    {"inverse_sqrt", make_inverse_sqrt},
    {"warmup_stable_decay", make_warmup_stable_decay},
    {"piecewise_constant", make_piecewise_constant},
    {"CosineAnnealingLR", make_cosine_annealing},
    {"CosineAnnealingWarmRestarts", make_warm_restarts},
    {"StepLR", make_step},
    {"MultiStepLR", make_multi_step},
    {"ExponentialLR", make_exponential},
    {"OneCycleLR", make_one_cycle},
};

}  // namespace

LrSchedule make_lr_schedule(const LrSchedulerConfig& config, int64_t total_steps, double base_lr) {
  const LrSchedulerConfig resolved = with_schedule_defaults(config);
  const int64_t total = resolved.total_steps.value_or(total_steps);
  const Setup setup{resolved, {total, resolved.warmup_steps.value_or(StepsOrPart{}).of(total)}, base_lr};
  for (const LrScheduleRow& row : kLrSchedules) {
    if (row.name == resolved.name) return row.make(setup);
  }
  throw LogicError("[schedule table] expected a row for " + resolved.name + ", got none");
}

}  // namespace millrace
