// Every update rule by its name in [optimizer]. config/optimizer_rules.h lists the options of each.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "config/sections/optimizer.h"
#include "optim/optimizer.h"
#include "optim/rank_sums.h"

namespace millrace {

struct OptimizerSetup {
  std::vector<FlatGroup> groups;
  OptimizerConfig config;  // unset options have the rule's defaults
  uint64_t seed = 0;       // of stochastic rounding
  RankSums ranks = {};     // that share the groups' parameters
};

// Throws ConfigError for an unknown name, an option that the rule does not have, or one outside its range.
std::unique_ptr<Optimizer> make_optimizer(OptimizerSetup setup);

}  // namespace millrace
