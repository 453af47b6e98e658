#include "nn/recompute.h"

#include "base/error.h"

namespace millrace {

Keep keep_of(const std::string& mode) {
  for (const RecomputeMode& known : kRecomputeModes) {
    if (mode == known.name) return known.keep;
  }
  throw ConfigError("[activation_checkpoint.mode] expected none, selective or full, got " + mode);
}

}  // namespace millrace
