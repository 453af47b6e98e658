#include "config/optimizer_rules.h"

#include <algorithm>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "config/number_text.h"

namespace millrace {
namespace {

// Calls action(name, member) for every option of [optimizer] that not all rules have.
template <typename Action>
struct EachRuleOption {
  Action action;
  template <typename Member>
  void operator()(Member& member, const OptionInfo& info) {
    if constexpr (!std::is_same_v<Member, std::string>) action(info.name, member);
  }
};
template <typename Action>
void for_each_option(OptimizerConfig& config, Action action) {
  EachRuleOption<Action> visitor{std::move(action)};
  config.describe(visitor);
}

template <typename T>
bool is_set(const std::optional<T>& member) {
  return member.has_value();
}

const RuleOption* find(const OptimizerRule& rule, std::string_view option) {
  for (const RuleOption& has : rule.options) {
    if (option == has.name) return &has;
  }
  return nullptr;
}

void set(std::optional<bool>& member, const RuleOption& option) {
  if (const bool* value = std::get_if<bool>(&option.fallback)) member = *value;
}
template <typename T>
void set(std::optional<T>& member, const RuleOption& option) {
  if (const double* value = std::get_if<double>(&option.fallback)) member = static_cast<T>(*value);
}

std::string text_of(const RuleOption& option) {
  if (const bool* value = std::get_if<bool>(&option.fallback)) return *value ? "true" : "false";
  if (const double* value = std::get_if<double>(&option.fallback)) return number_text(*value);
  return "None";
}

std::string names_of_rules_with(std::string_view option) {
  std::vector<std::string> names;
  for (const OptimizerRule& rule : optimizer_rules()) {
    if (find(rule, option) != nullptr) names.push_back(rule.name);
  }
  return join(names, ", ");
}

// The options of a rule with D-Adaptation, with these of its own.
std::vector<RuleOption> dadaptation(const std::vector<RuleOption>& own, const std::vector<RuleOption>& more = {}) {
  std::vector<RuleOption> options = {{"lr", 1.0}};
  options.insert(options.end(), own.begin(), own.end());
  options.insert(options.end(), {{"d0", 1e-6}, {"growth_rate", {}}});
  options.insert(options.end(), more.begin(), more.end());
  options.insert(options.end(), {{"ema_decay", 0.0}, {"stochastic_rounding", {}}});
  return options;
}

}  // namespace

bool OptimizerRule::has(std::string_view option) const {
  return find(*this, option) != nullptr;
}

const std::vector<OptimizerRule>& optimizer_rules() {
  static const std::vector<RuleOption> kAdam = {
      {"lr", 1e-4},          {"beta1", 0.9},     {"beta2", 0.95},        {"eps", 1e-8},
      {"weight_decay", 0.1}, {"ema_decay", 0.0}, {"in_backward", false}, {"stochastic_rounding", {}}};
  static const std::vector<RuleOption> kDAdaptAdam = {
      {"beta1", 0.9}, {"beta2", 0.999}, {"eps", 1e-8}, {"weight_decay", 0.0}, {"decouple", false}};
  static const std::vector<RuleOption> kDAdaptAdan = {{"beta1", 0.98}, {"beta2", 0.92},        {"beta3", 0.99},
                                                      {"eps", 1e-8},   {"weight_decay", 0.02}, {"no_prox", false}};
  using Kind = OptimizerRule::Kind;
  static const std::vector<OptimizerRule> kRules = {
      {"AdamW", kAdam},
      {"Adam", kAdam},
      {"AdamW8bit",
       {{"lr", 1e-4},
        {"beta1", 0.9},
        {"beta2", 0.999},
        {"eps", 1e-8},
        {"weight_decay", 0.01},
        {"ema_decay", 0.0},
        {"in_backward", false},
        {"stochastic_rounding", {}}}},
      {"Lion",
       {{"lr", 1e-4},
        {"beta1", 0.9},
        {"beta2", 0.99},
        {"weight_decay", 0.0},
        {"decoupled_weight_decay", false},
        {"ema_decay", 0.0},
        {"in_backward", false},
        {"stochastic_rounding", {}}}},
      {"Adafactor",
       {{"lr", {}},
        {"beta1", {}},
        {"eps1", 1e-30},
        {"eps2", 1e-3},
        {"weight_decay", 0.0},
        {"clip_threshold", 1.0},
        {"decay_rate", -0.8},
        {"scale_parameter", true},
        {"relative_step", true},
        {"warmup_init", false},
        {"ema_decay", 0.0}}},
      {"CAME",
       {{"lr", 2e-4},
        {"beta1", 0.9},
        {"beta2", 0.999},
        {"beta3", 0.9999},
        {"eps1", 1e-30},
        {"eps2", 1e-16},
        {"weight_decay", 0.0},
        {"clip_threshold", 1.0},
        {"ema_decay", 0.0}}},
      {"Prodigy",
       {{"lr", 1.0},
        {"beta1", 0.9},
        {"beta2", 0.999},
        {"beta3", {}},
        {"eps", 1e-8},
        {"weight_decay", 0.0},
        {"decouple", true},
        {"d0", 1e-6},
        {"d_coef", 1.0},
        {"growth_rate", {}},
        {"slice_p", 1.0},
        {"use_bias_correction", false},
        {"safeguard_warmup", false},
        {"ema_decay", 0.0},
        {"stochastic_rounding", {}}},
       Kind::kFindsStepSize},
      {"AdamWScheduleFree",
       {{"lr", 2.5e-3},
        {"beta1", 0.9},
        {"beta2", 0.999},
        {"eps", 1e-8},
        {"weight_decay", 0.0},
        {"warmup_steps", 0.0},
        {"r", 0.0},
        {"weight_lr_power", 2.0},
        {"stochastic_rounding", {}}},
       Kind::kAveragesWeights},
      {"RAdamScheduleFree",
       {{"lr", 2.5e-3},
        {"beta1", 0.9},
        {"beta2", 0.999},
        {"eps", 1e-8},
        {"weight_decay", 0.0},
        {"silent_sgd_phase", true},
        {"r", 0.0},
        {"weight_lr_power", 2.0},
        {"stochastic_rounding", {}}},
       Kind::kAveragesWeights},
      {"SGDScheduleFree",
       {{"lr", 1.0},
        {"momentum", 0.9},
        {"weight_decay", 0.0},
        {"warmup_steps", 0.0},
        {"r", 0.0},
        {"weight_lr_power", 2.0},
        {"stochastic_rounding", {}}},
       Kind::kAveragesWeights},
      {"ProdigyPlusScheduleFree",
       {{"lr", 1.0},
        {"beta1", 0.9},
        {"beta2", 0.99},
        {"beta3", {}},
        {"eps", 1e-8},
        {"weight_decay", 0.0},
        {"d0", 1e-6},
        {"d_coef", 1.0},
        {"prodigy_steps", 0.0},
        {"use_bias_correction", false},
        {"use_speed", false},
        {"factored", true},
        {"use_stableadamw", true},
        {"split_groups", true},
        {"split_groups_mean", true},
        {"stochastic_rounding", {}}},
       Kind::kAveragesWeights},
      {"SGD",
       {{"lr", 1e-3},
        {"momentum", 0.0},
        {"dampening", 0.0},
        {"weight_decay", 0.0},
        {"nesterov", false},
        {"ema_decay", 0.0},
        {"in_backward", false},
        {"stochastic_rounding", {}}}},
      {"DAdaptAdam", dadaptation(kDAdaptAdam, {{"use_bias_correction", false}}), Kind::kFindsStepSize},
      {"DAdaptAdamPreprint", dadaptation(kDAdaptAdam), Kind::kFindsStepSize},
      {"DAdaptAdan", dadaptation(kDAdaptAdan), Kind::kFindsStepSize},
      {"DAdaptAdanIP", dadaptation(kDAdaptAdan), Kind::kFindsStepSize},
      {"DAdaptLion",
       {{"lr", 1.0},
        {"beta1", 0.9},
        {"beta2", 0.99},
        {"weight_decay", 0.0},
        {"d0", 1e-6},
        {"ema_decay", 0.0},
        {"stochastic_rounding", {}}},
       Kind::kFindsStepSize},
      {"DAdaptSGD", dadaptation({{"momentum", 0.0}, {"weight_decay", 0.0}}), Kind::kFindsStepSize},
      {"DAdaptAdaGrad", dadaptation({{"momentum", 0.0}, {"eps", 1e-6}, {"weight_decay", 0.0}}), Kind::kFindsStepSize},
  };
  return kRules;
}

std::vector<const char*> optimizer_names() {
  std::vector<const char*> names;
  for (const OptimizerRule& rule : optimizer_rules()) names.push_back(rule.name);
  return names;
}

const OptimizerRule& optimizer_rule(const std::string& name) {
  std::vector<std::string> names;
  for (const OptimizerRule& rule : optimizer_rules()) {
    if (name == rule.name) return rule;
    names.push_back(rule.name);
  }
  const std::string near = nearest(name, names);
  throw ConfigError(str("[optimizer.name] expected one of ", join(names, ", "), ", got \"", name, "\"",
                        near.empty() ? "" : " (try " + near + ")"));
}

void check_optimizer(const OptimizerConfig& config, Problems& problems) {
  const OptimizerRule& rule = optimizer_rule(config.name);
  OptimizerConfig copy = config;
  for_each_option(copy, [&](const char* name, auto& member) {
    if (!is_set(member) || find(rule, name) != nullptr) return;
    problems.add(str("optimizer.", name),
                 str("expected an option that ", rule.name, " has, got one of ", names_of_rules_with(name)));
  });
}

OptimizerConfig with_rule_defaults(OptimizerConfig config) {
  Problems problems;
  check_optimizer(config, problems);
  problems.throw_if_any();
  const OptimizerRule& rule = optimizer_rule(config.name);
  for_each_option(config, [&](const char* name, auto& member) {
    const RuleOption* option = find(rule, name);
    if (option != nullptr && !is_set(member)) set(member, *option);
  });
  return config;
}

bool keeps_average(const OptimizerConfig& config) {
  return optimizer_rule(config.name).averages_weights() || with_rule_defaults(config).ema_decay.value_or(0) > 0;
}

std::string rule_defaults(const std::string& option) {
  std::vector<std::pair<std::string, std::string>> names_by_default;  // in the table's order
  for (const OptimizerRule& rule : optimizer_rules()) {
    const RuleOption* has = find(rule, option);
    if (has == nullptr) continue;
    const std::string fallback = text_of(*has);
    const auto same = std::find_if(names_by_default.begin(), names_by_default.end(),
                                   [&](const auto& entry) { return entry.first == fallback; });
    if (same == names_by_default.end()) {
      names_by_default.emplace_back(fallback, rule.name);
    } else {
      same->second += str(", ", rule.name);
    }
  }
  std::vector<std::string> texts;
  for (const auto& [fallback, names] : names_by_default) texts.push_back(names + " " + fallback);
  return join(texts, "; ");
}

}  // namespace millrace
