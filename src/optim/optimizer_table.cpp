#include "optim/optimizer_table.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "config/optimizer_rules.h"
#include "optim/adafactor.h"
#include "optim/adam_optimizer.h"
#include "optim/adamw8bit_optimizer.h"
#include "optim/came.h"
#include "optim/dadapt_adagrad.h"
#include "optim/dadapt_adam.h"
#include "optim/dadapt_adan.h"
#include "optim/dadapt_lion.h"
#include "optim/dadapt_sgd.h"
#include "optim/lion.h"
#include "optim/prodigy.h"
#include "optim/prodigy_schedule_free.h"
#include "optim/schedule_free.h"
#include "optim/sgd.h"

namespace millrace {
namespace {

// In the functions below, setup.config has all defaults of its rule.

// Unless told otherwise: where weights are kept in bf16 alone, whose small updates would be lost by rounding to
// nearest.
bool rounds_stochastically(const OptimizerSetup& setup) {
  const bool narrow = std::any_of(setup.groups.begin(), setup.groups.end(), [](const FlatGroup& group) {
    return group.master.scalar_type() == torch::kBFloat16;
  });
  return setup.config.stochastic_rounding.value_or(narrow);
}

RoundingOptions rounding_of(const OptimizerSetup& setup) {
  return {.stochastic = rounds_stochastically(setup), .seed = setup.seed};
}

std::unique_ptr<Optimizer> make_adam(OptimizerSetup setup, WeightDecay decay_mode) {
  const OptimizerConfig& config = setup.config;
  const AdamOptimizerOptions options = {.decay_mode = decay_mode,
                                        .beta1 = *config.beta1,
                                        .beta2 = *config.beta2,
                                        .eps = *config.eps,
                                        .weight_decay = *config.weight_decay,
                                        .stochastic_rounding = rounds_stochastically(setup),
                                        .seed = setup.seed};
  return std::make_unique<AdamOptimizer>(std::move(setup.groups), options);
}

std::unique_ptr<Optimizer> make_adamw8bit(OptimizerSetup setup) {
  const OptimizerConfig& config = setup.config;
  const AdamW8bitOptimizerOptions options = {.beta1 = *config.beta1,
                                             .beta2 = *config.beta2,
                                             .eps = *config.eps,
                                             .weight_decay = *config.weight_decay,
                                             .stochastic_rounding = rounds_stochastically(setup),
                                             .seed = setup.seed};
  return std::make_unique<AdamW8bitOptimizer>(std::move(setup.groups), options, setup.ranks);
}

std::unique_ptr<Optimizer> make_lion(OptimizerSetup setup) {
  const OptimizerConfig& config = setup.config;
  const LionOptions options = {.beta1 = *config.beta1,
                               .beta2 = *config.beta2,
                               .weight_decay = *config.weight_decay,
                               .decoupled_weight_decay = *config.decoupled_weight_decay,
                               .base_lr = *config.lr,
                               .rounding = rounding_of(setup)};
  return std::make_unique<Lion>(std::move(setup.groups), options);
}

std::unique_ptr<Optimizer> make_adafactor(OptimizerSetup setup) {
  const OptimizerConfig& config = setup.config;
  if (*config.relative_step && config.lr) {
    throw ConfigError(str("[optimizer.lr] expected none with Adafactor's relative_step, which chooses it, got ",
                          *config.lr, " (try optimizer.relative_step = false)"));
  }
  if (!*config.relative_step && !config.lr) {
    throw ConfigError("[optimizer.lr] expected a learning rate for Adafactor without relative_step, got none");
  }
  const AdafactorOptions options = {.eps1 = *config.eps1,
                                    .eps2 = *config.eps2,
                                    .clip_threshold = *config.clip_threshold,
                                    .decay_rate = *config.decay_rate,
                                    .beta1 = config.beta1,
                                    .weight_decay = *config.weight_decay,
                                    .scale_parameter = *config.scale_parameter,
                                    .relative_step = *config.relative_step,
                                    .warmup_init = *config.warmup_init};
  return std::make_unique<Adafactor>(std::move(setup.groups), options, setup.ranks);
}

std::unique_ptr<Optimizer> make_prodigy(OptimizerSetup setup) {
  const OptimizerConfig& config = setup.config;
  const ProdigyOptions options = {.beta1 = *config.beta1,
                                  .beta2 = *config.beta2,
                                  .beta3 = config.beta3,
                                  .eps = *config.eps,
                                  .weight_decay = *config.weight_decay,
                                  .decouple = *config.decouple,
                                  .use_bias_correction = *config.use_bias_correction,
                                  .safeguard_warmup = *config.safeguard_warmup,
                                  .d0 = *config.d0,
                                  .d_coef = *config.d_coef,
                                  .growth_rate = config.growth_rate,
                                  .slice_p = *config.slice_p,
                                  .rounding = rounding_of(setup)};
  return std::make_unique<Prodigy>(std::move(setup.groups), options, setup.ranks);
}

std::unique_ptr<Optimizer> make_schedule_free(OptimizerSetup setup, ScheduleFreeOptions::Rule rule) {
  const OptimizerConfig& config = setup.config;
  const bool is_sgd = rule == ScheduleFreeOptions::Rule::kSgd;
  ScheduleFreeOptions options = {.rule = rule,
                                 .beta1 = is_sgd ? *config.momentum : *config.beta1,
                                 .weight_decay = *config.weight_decay,
                                 .warmup_steps = config.warmup_steps.value_or(0),
                                 .silent_sgd_phase = config.silent_sgd_phase.value_or(true),
                                 .r = *config.r,
                                 .weight_lr_power = *config.weight_lr_power,
                                 .rounding = rounding_of(setup)};
  if (!is_sgd) {
    options.beta2 = *config.beta2;
    options.eps = *config.eps;
  }
  return std::make_unique<ScheduleFree>(std::move(setup.groups), options);
}

std::unique_ptr<Optimizer> make_prodigy_schedule_free(OptimizerSetup setup) {
  const OptimizerConfig& config = setup.config;
  const ProdigyScheduleFreeOptions options = {.beta1 = *config.beta1,
                                              .beta2 = *config.beta2,
                                              .beta3 = config.beta3,
                                              .eps = *config.eps,
                                              .weight_decay = *config.weight_decay,
                                              .d0 = *config.d0,
                                              .d_coef = *config.d_coef,
                                              .prodigy_steps = *config.prodigy_steps,
                                              .use_bias_correction = *config.use_bias_correction,
                                              .use_speed = *config.use_speed,
                                              .factored = *config.factored,
                                              .use_stableadamw = *config.use_stableadamw,
                                              .split_groups = *config.split_groups,
                                              .split_groups_mean = *config.split_groups_mean,
                                              .rounding = rounding_of(setup)};
  return std::make_unique<ProdigyScheduleFree>(std::move(setup.groups), options, setup.ranks);
}

std::unique_ptr<Optimizer> make_sgd(OptimizerSetup setup) {
  const OptimizerConfig& config = setup.config;
  const SgdOptions options = {.momentum = *config.momentum,
                              .dampening = *config.dampening,
                              .weight_decay = *config.weight_decay,
                              .nesterov = *config.nesterov,
                              .rounding = rounding_of(setup)};
  return std::make_unique<Sgd>(std::move(setup.groups), options);
}

std::unique_ptr<Optimizer> make_came(OptimizerSetup setup) {
  const OptimizerConfig& config = setup.config;
  const CameOptions options = {.beta1 = *config.beta1,
                               .beta2 = *config.beta2,
                               .beta3 = *config.beta3,
                               .eps1 = *config.eps1,
                               .eps2 = *config.eps2,
                               .clip_threshold = *config.clip_threshold,
                               .weight_decay = *config.weight_decay};
  return std::make_unique<Came>(std::move(setup.groups), options, setup.ranks);
}

DAdaptationOptions dadaptation_of(const OptimizerSetup& setup) {
  return {.d0 = *setup.config.d0, .growth_rate = setup.config.growth_rate, .rounding = rounding_of(setup)};
}

std::unique_ptr<Optimizer> make_dadapt_adam(OptimizerSetup setup, bool preprint) {
  const OptimizerConfig& config = setup.config;
  const DAdaptAdamOptions options = {.preprint = preprint,
                                     .beta1 = *config.beta1,
                                     .beta2 = *config.beta2,
                                     .eps = *config.eps,
                                     .weight_decay = *config.weight_decay,
                                     .decouple = *config.decouple,
                                     .use_bias_correction = config.use_bias_correction.value_or(false),
                                     .estimate = dadaptation_of(setup)};
  return std::make_unique<DAdaptAdam>(std::move(setup.groups), options, setup.ranks);
}

std::unique_ptr<Optimizer> make_dadapt_adan(OptimizerSetup setup, bool ip) {
  const OptimizerConfig& config = setup.config;
  const DAdaptAdanOptions options = {.ip = ip,
                                     .beta1 = *config.beta1,
                                     .beta2 = *config.beta2,
                                     .beta3 = *config.beta3,
                                     .eps = *config.eps,
                                     .weight_decay = *config.weight_decay,
                                     .no_prox = *config.no_prox,
                                     .estimate = dadaptation_of(setup)};
  return std::make_unique<DAdaptAdan>(std::move(setup.groups), options, setup.ranks);
}

std::unique_ptr<Optimizer> make_dadapt_lion(OptimizerSetup setup) {
  const OptimizerConfig& config = setup.config;
  const DAdaptLionOptions options = {.beta1 = *config.beta1,
                                     .beta2 = *config.beta2,
                                     .weight_decay = *config.weight_decay,
                                     .estimate = dadaptation_of(setup)};
  return std::make_unique<DAdaptLion>(std::move(setup.groups), options, setup.ranks);
}

std::unique_ptr<Optimizer> make_dadapt_sgd(OptimizerSetup setup) {
  const OptimizerConfig& config = setup.config;
  const DAdaptSgdOptions options = {
      .momentum = *config.momentum, .weight_decay = *config.weight_decay, .estimate = dadaptation_of(setup)};
  return std::make_unique<DAdaptSgd>(std::move(setup.groups), options, setup.ranks);
}

std::unique_ptr<Optimizer> make_dadapt_adagrad(OptimizerSetup setup) {
  const OptimizerConfig& config = setup.config;
  const DAdaptAdaGradOptions options = {.momentum = *config.momentum,
                                        .eps = *config.eps,
                                        .weight_decay = *config.weight_decay,
                                        .estimate = dadaptation_of(setup)};
  return std::make_unique<DAdaptAdaGrad>(std::move(setup.groups), options, setup.ranks);
}

// One of the functions above with its second argument chosen.
template <auto make, auto choice>
std::unique_ptr<Optimizer> make_with(OptimizerSetup setup) {
  return make(std::move(setup), choice);
}

struct OptimizerRow {
  std::string_view name;
  std::unique_ptr<Optimizer> (*make)(OptimizerSetup setup);
};

constexpr OptimizerRow kOptimizers[] = {
    {"AdamW", make_with<make_adam, WeightDecay::kDecoupled>},
    {"Adam", make_with<make_adam, WeightDecay::kL2>},
    {"AdamW8bit", make_adamw8bit},
    {"Lion", make_lion},
    {"Adafactor", make_adafactor},
    {"Prodigy", make_prodigy},
    {"CAME", make_came},
    {"AdamWScheduleFree", make_with<make_schedule_free, ScheduleFreeOptions::Rule::kAdamW>},
    {"RAdamScheduleFree", make_with<make_schedule_free, ScheduleFreeOptions::Rule::kRAdam>},
    {"SGDScheduleFree", make_with<make_schedule_free, ScheduleFreeOptions::Rule::kSgd>},
    {"ProdigyPlusScheduleFree", make_prodigy_schedule_free},
    {"SGD", make_sgd},
    {"DAdaptAdam", make_with<make_dadapt_adam, false>},
    {"DAdaptAdamPreprint", make_with<make_dadapt_adam, true>},
    {"DAdaptAdan", make_with<make_dadapt_adan, false>},
    {"DAdaptAdanIP", make_with<make_dadapt_adan, true>},
    {"DAdaptLion", make_dadapt_lion},
    {"DAdaptSGD", make_dadapt_sgd},
    {"DAdaptAdaGrad", make_dadapt_adagrad},
};

}  // namespace

std::unique_ptr<Optimizer> make_optimizer(OptimizerSetup setup) {
  setup.config = with_rule_defaults(setup.config);
  for (const OptimizerRow& row : kOptimizers) {
    if (row.name == setup.config.name) return row.make(std::move(setup));
  }
  throw LogicError("[optimizer table] expected a row for " + setup.config.name + ", got none");
}

}  // namespace millrace
