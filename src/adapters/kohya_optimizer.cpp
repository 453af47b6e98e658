#include "adapters/kohya_optimizer.h"

#include <algorithm>
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
      {"CAME", "pytorch_optimizer.optimizer.came.CAME"},
      {"DAdaptAdaGrad", "dadaptation.dadapt_adagrad.DAdaptAdaGrad"},
      {"DAdaptAdam", "dadaptation.dadapt_adam.DAdaptAdam"},
      {"DAdaptAdamPreprint", "dadaptation.experimental.dadapt_adam_preprint.DAdaptAdamPreprint"},
      {"DAdaptAdan", "dadaptation.dadapt_adan.DAdaptAdan"},
      {"DAdaptAdanIP", "dadaptation.experimental.dadapt_adan_ip.DAdaptAdanIP"},
      {"DAdaptLion", "dadaptation.dadapt_lion.DAdaptLion"},
      {"DAdaptSGD", "dadaptation.dadapt_sgd.DAdaptSGD"},
      {"AdamWScheduleFree", "schedulefree.adamw_schedulefree.AdamWScheduleFree"},
      {"Lion", "lion_pytorch.lion_pytorch.Lion"},
      {"Prodigy", "prodigyopt.prodigy.Prodigy"},
      {"ProdigyPlusScheduleFree", "prodigyplus.prodigy_plus_schedulefree.ProdigyPlusScheduleFree"},
      {"RAdamScheduleFree", "schedulefree.radam_schedulefree.RAdamScheduleFree"},
      {"SGD", "torch.optim.sgd.SGD"},
      {"SGDScheduleFree", "schedulefree.sgd_schedulefree.SGDScheduleFree"},
  };
  const auto found = kClasses.find(optimizer);
  return found == kClasses.end() ? optimizer : found->second;
}

// Options that no package has as an argument, or that sd-scripts writes elsewhere.
bool is_ours_alone(std::string_view option) {
  return option == "lr" || option == "ema_decay" || option == "stochastic_rounding" || option == "in_backward";
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

// Options that are one argument of the packages.
struct Tuple {
  const char* argument;
  std::vector<std::string_view> options;

  bool holds(std::string_view option) const {
    return std::find(options.begin(), options.end(), option) != options.end();
  }
};

std::vector<Tuple> tuples_of(const OptimizerRule& rule) {
  std::vector<Tuple> tuples;
  bool has_betas = false, third_is_a_number = false;
  for (const RuleOption& option : rule.options) {
    const std::string_view name = option.name;
    has_betas = has_betas || name == "beta2";
    // Prodigy's, which may be None, is an argument of its own.
    third_is_a_number = third_is_a_number || (name == "beta3" && std::holds_alternative<double>(option.fallback));
  }
  if (has_betas) tuples.push_back({"betas", {"beta1", "beta2"}});
  if (third_is_a_number) tuples.back().options.push_back("beta3");
  if (std::string_view(rule.name) == "Adafactor") tuples.push_back({"eps", {"eps1", "eps2"}});
  return tuples;
}

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
  const std::vector<Tuple> tuples = tuples_of(rule);
  std::vector<std::string> arguments;
  for (const RuleOption& option : rule.options) {
    const std::string_view name = option.name;
    const auto tuple = std::find_if(tuples.begin(), tuples.end(), [&](const Tuple& each) { return each.holds(name); });
    if (tuple != tuples.end()) {
      const auto differing = [&](std::string_view each) { return differs[each]; };
      const std::vector<std::string_view>& options = tuple->options;
      if (name != options.front() || std::none_of(options.begin(), options.end(), differing)) continue;
      std::vector<std::string> items;
      for (const std::string_view each : options) items.push_back(python_str(of.values.at(each)));
      arguments.push_back(std::string(tuple->argument) + "=(" + join(items, ", ") + ")");
    } else if (!is_ours_alone(name) && differs[name]) {
      arguments.push_back(std::string(name) + "=" + python_str(of.values.at(name)));
    }
  }
  const std::string text = class_of(config.name);
  return arguments.empty() ? text : text + "(" + join(arguments, ",") + ")";
}

}  // namespace millrace
