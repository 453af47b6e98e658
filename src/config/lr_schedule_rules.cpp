#include "config/lr_schedule_rules.h"

#include <algorithm>
#include <string_view>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/option_table.h"

namespace millrace {
namespace {

bool has(const LrScheduleRule& rule, std::string_view option) {
  return option == "name" || option == "total_steps" ||
         std::any_of(rule.options.begin(), rule.options.end(), [&](const char* name) { return option == name; });
}

const LrScheduleRule& find_rule(const std::string& name) {
  std::vector<std::string> names;
  for (const LrScheduleRule& rule : lr_schedule_rules()) {
    if (name == rule.name) return rule;
    names.push_back(rule.name);
  }
  const std::string near = nearest(name, names);
  throw ConfigError(str("[lr_scheduler.name] expected one of ", join(names, ", "), ", got \"", name, "\"",
                        near.empty() ? "" : " (try " + near + ")"));
}

std::string rules_with(std::string_view option) {
  std::vector<std::string> names;
  for (const LrScheduleRule& rule : lr_schedule_rules()) {
    if (has(rule, option)) names.push_back(rule.name);
  }
  return join(names, ", ");
}

// The options of [lr_scheduler] whose values are not the defaults.
std::vector<std::string> changed_options(const LrSchedulerConfig& config) {
  RunConfig changed, defaults;
  changed.lr_scheduler = config;
  const std::vector<OptionSection> sections = option_sections(changed), default_sections = option_sections(defaults);
  std::vector<std::string> names;
  for (size_t i = 0; i < sections.size(); ++i) {
    if (sections[i].name != "lr_scheduler") continue;
    for (size_t j = 0; j < sections[i].options.size(); ++j) {
      const Option& option = sections[i].options[j];
      if (value_text(option) != value_text(default_sections[i].options[j])) names.push_back(option.info.name);
    }
  }
  return names;
}

}  // namespace

const std::vector<LrScheduleRule>& lr_schedule_rules() {
  static const std::vector<LrScheduleRule> kRules = {
      {"torchtitan", {"warmup_steps", "decay_ratio", "decay_type", "min_lr_factor"}},
      {"constant", {}},
      {"constant_with_warmup", {"warmup_steps"}},
      {"linear", {"warmup_steps"}},
      {"cosine", {"warmup_steps"}},
      {"cosine_with_restarts", {"warmup_steps", "num_cycles"}},
      {"cosine_with_min_lr", {"warmup_steps", "num_cycles", "min_lr_factor"}},
      {"polynomial", {"warmup_steps", "power", "lr_end"}},
      {"inverse_sqrt", {"warmup_steps", "timescale"}},
      {"warmup_stable_decay", {"warmup_steps", "decay_steps", "num_cycles", "min_lr_factor"}},
      {"piecewise_constant", {"step_rules"}},
      {"CosineAnnealingLR", {"t_max", "eta_min"}},
      {"CosineAnnealingWarmRestarts", {"t_0", "t_mult", "eta_min"}},
      {"StepLR", {"step_size", "gamma"}},
      {"MultiStepLR", {"milestones", "gamma"}},
      {"ExponentialLR", {"gamma"}},
      {"OneCycleLR",
       {"max_lr", "pct_start", "div_factor", "final_div_factor", "anneal_strategy", "three_phase", "cycle_momentum",
        "base_momentum", "max_momentum"}},
  };
  return kRules;
}

std::vector<const char*> lr_schedule_names() {
  std::vector<const char*> names;
  for (const LrScheduleRule& rule : lr_schedule_rules()) names.push_back(rule.name);
  return names;
}

void check_lr_schedule(const LrSchedulerConfig& config, Problems& problems) {
  const LrScheduleRule& rule = find_rule(config.name);
  for (const std::string& option : changed_options(config)) {
    if (has(rule, option)) continue;
    problems.add("lr_scheduler." + option,
                 str("expected an option that the schedule ", rule.name, " has, got one of ", rules_with(option)));
  }
  if (has(rule, "step_rules") && config.step_rules.empty()) {
    problems.add("lr_scheduler.step_rules", "expected rules such as \"1:10,0.1:20,0.005\", got nothing");
  }
  if (config.name == "StepLR" && !config.step_size) {
    problems.add("lr_scheduler.step_size", "expected a number of steps with StepLR, got none");
  }
  if (config.name == "MultiStepLR" && config.milestones.empty()) {
    problems.add("lr_scheduler.milestones", "expected steps such as [100, 200] with MultiStepLR, got none");
  }
  if (config.name == "ExponentialLR" && !config.gamma) {
    problems.add("lr_scheduler.gamma", "expected the factor of each step with ExponentialLR, got none");
  }
}

LrSchedulerConfig with_schedule_defaults(LrSchedulerConfig config) {
  Problems problems;
  check_lr_schedule(config, problems);
  problems.throw_if_any();
  const LrScheduleRule& rule = find_rule(config.name);
  constexpr int64_t kTorchtitanWarmup = 200;
  if (!config.warmup_steps && has(rule, "warmup_steps")) {
    config.warmup_steps = StepsOrPart{.steps = config.name == "torchtitan" ? kTorchtitanWarmup : 0};
  }
  if (!config.decay_steps && has(rule, "decay_steps")) config.decay_steps = StepsOrPart{};
  return config;
}

}  // namespace millrace
