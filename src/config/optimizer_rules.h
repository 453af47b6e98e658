// The optimizers that [optimizer] name chooses from, as data: which options each one has, and their defaults.
// optim/optimizer_table.h says what each one does.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "config/problems.h"
#include "config/sections/optimizer.h"

namespace millrace {

struct RuleOption {
  const char* name;  // of an option of [optimizer]
  // Its default with this rule; empty: the rule has a meaning for None.
  std::variant<std::monostate, bool, double> fallback;
};

struct OptimizerRule {
  const char* name;
  std::vector<RuleOption> options;
  bool averages_weights = false;  // which then evaluates and draws with the average, as with ema_decay
};

const std::vector<OptimizerRule>& optimizer_rules();
// Throws ConfigError for an unknown name, with the nearest known one.
const OptimizerRule& optimizer_rule(const std::string& name);

// Adds a problem for every option that is set but that the chosen rule does not have, naming the rules that have it.
void check_optimizer(const OptimizerConfig& config, Problems& problems);

// The same with the rule's defaults in place of what is not set. Throws ConfigError for what check_optimizer() finds.
OptimizerConfig with_rule_defaults(OptimizerConfig config);

// Whether checkpoints hold averaged weights beside those that are trained.
bool keeps_average(const OptimizerConfig& config);

// The defaults of an option of [optimizer]: "AdamW, Adam 0.95; Lion 0.99". "" for the name, which is not a rule's.
std::string rule_defaults(const std::string& option);

}  // namespace millrace
