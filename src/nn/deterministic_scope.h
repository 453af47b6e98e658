// Determinism for the duration of one call into ATen.
#pragma once

#include <ATen/Context.h>

#include <mutex>

namespace millrace {

// While one lives, kernels sum in a fixed order: a resumed run must repeat every bit. Not for a whole program: cuBLAS
// then requires an environment variable, and every new tensor is filled with NaNs. The setting is global to the
// process: scopes of several threads may overlap, and the last to end restores it.
class DeterministicScope {
 public:
  DeterministicScope() {
    State& state = shared();
    const std::lock_guard lock(state.mutex);
    if (state.scopes++ > 0) return;
    at::Context& context = at::globalContext();
    state.was_deterministic = context.deterministicAlgorithms();
    state.warned_only = context.deterministicAlgorithmsWarnOnly();
    state.filled_memory = context.deterministicFillUninitializedMemory();
    context.setDeterministicFillUninitializedMemory(false);
    context.setDeterministicAlgorithms(true, /*warn_only=*/false);
  }
  ~DeterministicScope() {
    State& state = shared();
    const std::lock_guard lock(state.mutex);
    if (--state.scopes > 0) return;
    at::Context& context = at::globalContext();
    context.setDeterministicAlgorithms(state.was_deterministic, state.warned_only);
    context.setDeterministicFillUninitializedMemory(state.filled_memory);
  }
  DeterministicScope(const DeterministicScope&) = delete;
  DeterministicScope& operator=(const DeterministicScope&) = delete;

 private:
  struct State {
    std::mutex mutex;
    int scopes = 0;
    bool was_deterministic = false, warned_only = false, filled_memory = true;
  };
  static State& shared() {
    static State state;
    return state;
  }
};

}  // namespace millrace
