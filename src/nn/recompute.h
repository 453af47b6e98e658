// How much of a block's forward pass is kept for its backward pass, which recomputes the rest.
#pragma once

#include <array>
#include <string>

namespace millrace {

enum class Keep {
  kAll,      // nothing is recomputed
  kOutputs,  // outputs of matrix products and attention; norms, rope and activations are recomputed
  kInputs,   // only the block's input
  // The same, in host memory: a matter of models (parallel/offloaded_inputs.h), whose blocks know kInputs alone.
  kInputsOnHost,
};

// Their names in activation_checkpoint.mode, from most to least memory.
struct RecomputeMode {
  const char* name;
  Keep keep;
};
inline constexpr std::array kRecomputeModes =
    std::to_array<RecomputeMode>({{"none", Keep::kAll}, {"selective", Keep::kOutputs}, {"full", Keep::kInputs}});

// offload: the inputs are in host memory where nothing else is kept. Throws ConfigError for an unknown mode.
Keep keep_of(const std::string& mode, bool offload = false);

}  // namespace millrace
