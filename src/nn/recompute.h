// How much of a block's forward pass is kept for its backward pass, which computes the rest again.
#pragma once

#include <array>
#include <string>

namespace millrace {

enum class Keep {
  kAll,      // nothing is computed twice
  kOutputs,  // outputs of matrix products and attention; norms, rope and activations are computed again
  kInputs,   // the block's input alone
};

// The names that activation_checkpoint.mode has for them, from the most memory to the least.
struct RecomputeMode {
  const char* name;
  Keep keep;
};
inline constexpr std::array kRecomputeModes =
    std::to_array<RecomputeMode>({{"none", Keep::kAll}, {"selective", Keep::kOutputs}, {"full", Keep::kInputs}});

// Throws ConfigError for an unknown mode.
Keep keep_of(const std::string& mode);

}  // namespace millrace
