// Determinism for the duration of one call into ATen.
#pragma once

#include <ATen/Context.h>

namespace millrace {

// While it lives, kernels sum in a fixed order: a resumed run must repeat every bit. Not for a whole program: cuBLAS
// then requires an environment variable, and every new tensor is filled with NaNs. One thread at a time, as the setting
// is global to the process.
class DeterministicScope {
 public:
  DeterministicScope() {
    context_.setDeterministicFillUninitializedMemory(false);
    context_.setDeterministicAlgorithms(true, /*warn_only=*/false);
  }
  ~DeterministicScope() {
    context_.setDeterministicAlgorithms(was_deterministic_, warned_only_);
    context_.setDeterministicFillUninitializedMemory(filled_memory_);
  }
  DeterministicScope(const DeterministicScope&) = delete;
  DeterministicScope& operator=(const DeterministicScope&) = delete;

 private:
  at::Context& context_ = at::globalContext();
  const bool was_deterministic_ = context_.deterministicAlgorithms();
  const bool warned_only_ = context_.deterministicAlgorithmsWarnOnly();
  const bool filled_memory_ = context_.deterministicFillUninitializedMemory();
};

}  // namespace millrace
