#include "nn/recompute.h"

#include "base/error.h"

namespace millrace {

Keep keep_of(const std::string& mode, bool offload) {
  for (const RecomputeMode& known : kRecomputeModes) {
    if (mode == known.name) return offload && known.keep == Keep::kInputs ? Keep::kInputsOnHost : known.keep;
  }
  throw ConfigError("[activation_checkpoint.mode] expected none, selective or full, got " + mode);
}

}  // namespace millrace
