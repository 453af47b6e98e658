#include "optim/option_check.h"

#include "base/error.h"
#include "base/log.h"

namespace millrace {

void require_option(bool good, const char* key, const char* expected, double got) {
  if (!good) throw ConfigError(str("[optimizer.", key, "] expected ", expected, ", got ", got));
}

void require_one_rate(const std::vector<FlatGroup>& groups, const char* rule) {
  for (const FlatGroup& group : groups) {
    if (group.lr_factor == 1 || group.lr_factor == 0) continue;
    throw ConfigError(str("[optimizer.name] expected one learning rate for all parameters with ", rule,
                          ", which finds the step size itself, got ", group.lr_factor, " times lr for ", group.name));
  }
}

}  // namespace millrace
