// The optimizers that [optimizer] name chooses from, as data: which options each one has, and their defaults.
// optim/optimizer_table.h says what each one does.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/problems.h"
#include "config/sections/optimizer.h"

namespace millrace {

struct RuleOption {
  const char* name;  // of an option of [optimizer]
  // Its default with this rule; empty: the rule accepts None.
  std::variant<std::monostate, bool, double> fallback;
};

struct OptimizerRule {
  enum class Kind {
    kPlain,
    kAveragesWeights,  // the run evaluates and draws with the average, as with ema_decay
    kFindsStepSize,    // one for all parameters: groups with other rates are refused
  };

  const char* name;
  std::vector<RuleOption> options;
  Kind kind = Kind::kPlain;

  bool has(std::string_view option) const;
  bool averages_weights() const { return kind == Kind::kAveragesWeights; }
  bool finds_step_size() const { return kind == Kind::kFindsStepSize; }
};

const std::vector<OptimizerRule>& optimizer_rules();
// Throws ConfigError for an unknown name, with the nearest known one.
const OptimizerRule& optimizer_rule(const std::string& name);

// Adds a problem for every option that is set but not one of the chosen rule's, naming the rules that have it.
void check_optimizer(const OptimizerConfig& config, Problems& problems);

// A copy in which unset options have the rule's defaults. Throws ConfigError for problems that check_optimizer() finds.
OptimizerConfig with_rule_defaults(OptimizerConfig config);

// Whether checkpoints hold averaged weights in addition to the trained ones.
bool keeps_average(const OptimizerConfig& config);

// The defaults of an option of [optimizer]: "AdamW, Adam 0.95; Lion 0.99". "" for the option `name` itself.
std::string rule_defaults(const std::string& option);

}  // namespace millrace
