#include "config/problems.h"

#include "base/error.h"
#include "base/text.h"

namespace millrace {

void Problems::throw_if_any() const {
  if (!lines_.empty()) throw ConfigError(join(lines_, "\n"));
}

}  // namespace millrace
