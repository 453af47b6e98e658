#include "optim/option_check.h"

#include "base/error.h"
#include "base/log.h"

namespace millrace {

void require_option(bool good, const char* key, const char* expected, double got) {
  if (!good) throw ConfigError(str("[optimizer.", key, "] expected ", expected, ", got ", got));
}

}  // namespace millrace
