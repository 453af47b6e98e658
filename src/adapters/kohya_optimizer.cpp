#include "adapters/kohya_optimizer.h"

#include <array>
#include <map>
#include <string_view>
#include <vector>

#include "adapters/kohya_metadata.h"
#include "base/text.h"
#include "config/optimizer_rules.h"

namespace millrace {
namespace {

std::string class_of(const std::string& optimizer) {
  static const std::map<std::string, std::string> kClasses = {
      {"Adam", "torch.optim.adam.Adam"},
      {"AdamW", "torch.optim.adamw.AdamW"},
      {"AdamW8bit", "bitsandbytes.optim.adamw.AdamW8bit"},
      {"Adafactor", "transformers.optimization.Adafactor"},
      {"AdamWScheduleFree", "schedulefree.adamw_schedulefree.AdamWScheduleFree"},
      {"Lion", "lion_pytorch.lion_pytorch.Lion"},
      {"Prodigy", "prodigyopt.prodigy.Prodigy"},
      {"ProdigyPlusScheduleFree", "prodigyplus.prodigy_plus_schedulefree.ProdigyPlusScheduleFree"},
      {"SGD", "torch.optim.sgd.SGD"},
  };
  const auto found = kClasses.find(optimizer);
  return found == kClasses.end() ? optimizer : found->second;
}

// Options that no package has as an argument, or that sd-scripts writes elsewhere.
bool is_ours_alone(std::string_view option) {
  return option == "lr" || option == "ema_decay" || option == "stochastic_rounding";
}

// The values of options by name.
struct OptionValues {
  std::map<std::string_view, PythonValue> values;

  void operator()(const std::string& /*name*/, const OptionInfo& /*info*/) {}
  template <typename T>
  void operator()(const std::optional<T>& member, const OptionInfo& info) {
    values[info.name] = member ? PythonValue(*member) : PythonValue();
  }
};

PythonValue package_default(const std::string& rule, const RuleOption& option) {
  const std::string_view name = option.name;
  if (rule == "Adam" || rule == "AdamW") {  // torch's, where ours are torchtitan's
    if (name == "beta2") return 0.999;
    if (name == "weight_decay") return rule == "Adam" ? 0.0 : 0.01;
  }
  return std::visit([](const auto& fallback) -> PythonValue { return fallback; }, option.fallback);
}

bool is_same(const PythonValue& a, const PythonValue& b) {
  const auto* whole = std::get_if<int64_t>(&a);
  const auto* number = std::get_if<double>(&b);
  return whole != nullptr && number != nullptr ? static_cast<double>(*whole) == *number : a == b;
}

// Two options that are one argument of the packages.
struct Pair {
  const char* argument;
  const char* first;
  const char* second;
};
constexpr std::array kPairs = {Pair{"betas", "beta1", "beta2"}, Pair{"eps", "eps1", "eps2"}};

}  // namespace

std::string kohya_optimizer_text(const OptimizerConfig& given) {
  OptimizerConfig config = with_rule_defaults(given);
  OptionValues of;
  config.describe(of);
  std::map<std::string_view, bool> differs;  // of the rule's options
  const OptimizerRule& rule = optimizer_rule(config.name);
  for (const RuleOption& option : rule.options) {
    differs[option.name] = !is_same(of.values.at(option.name), package_default(rule.name, option)) ||
                           std::string_view(option.name) == "relative_step";
  }
  const auto pair_of = [&](std::string_view option) -> const Pair* {
    for (const Pair& pair : kPairs) {
      const bool has_both = differs.contains(pair.first) && differs.contains(pair.second);
      if (has_both && (option == pair.first || option == pair.second)) return &pair;
    }
    return nullptr;
  };
  std::vector<std::string> arguments;
  for (const RuleOption& option : rule.options) {
    const std::string_view name = option.name;
    if (const Pair* pair = pair_of(name)) {
      if (name != pair->first || !(differs[pair->first] || differs[pair->second])) continue;
      arguments.push_back(std::string(pair->argument) + "=(" + python_str(of.values.at(pair->first)) + ", " +
                          python_str(of.values.at(pair->second)) + ")");
    } else if (!is_ours_alone(name) && differs[name]) {
      arguments.push_back(std::string(name) + "=" + python_str(of.values.at(name)));
    }
  }
  const std::string text = class_of(config.name);
  return arguments.empty() ? text : text + "(" + join(arguments, ",") + ")";
}

}  // namespace millrace
