#include "train/run_listeners.h"

#include <utility>

#include "base/log.h"

namespace millrace {

void RunListeners::run_prepares(const RunFacts& facts) {
  for (const auto& listener : listeners_) listener->run_prepares(facts);
}

void RunListeners::run_starts() {
  for (const auto& listener : listeners_) listener->run_starts();
}

void RunListeners::step_starts(int64_t step) {
  for (const auto& listener : listeners_) listener->step_starts(step);
}

void RunListeners::step_ends(const StepMetrics& metrics) {
  for (const auto& listener : listeners_) listener->step_ends(metrics);
}

void RunListeners::validation_starts(int64_t step) {
  for (const auto& listener : listeners_) listener->validation_starts(step);
}

void RunListeners::validation_ends(int64_t step, const ValidationResult& result) {
  for (const auto& listener : listeners_) listener->validation_ends(step, result);
}

void RunListeners::checkpoint_saved(const SavedCheckpoint& saved) {
  for (const auto& listener : listeners_) listener->checkpoint_saved(saved);
}

void RunListeners::run_ends(RunEnd end) {
  if (std::exchange(has_ended_, true)) return;
  for (const auto& listener : listeners_) {
    try {
      listener->run_ends(end);
    } catch (const std::exception& error) {
      if (end != RunEnd::kStopped && end != RunEnd::kFailed) throw;
      // A full disk must not hide why the run ends.
      log_warning("[", listener->name(), "] expected to record the end of the run, got: ", error.what());
    }
  }
}

void RunListeners::put_states(std::map<std::string, std::string>& states) const {
  for (const auto& listener : listeners_) {
    std::string state = listener->state();
    if (state.empty()) {
      states.erase(listener->name());
    } else {
      states[listener->name()] = std::move(state);
    }
  }
}

void RunListeners::restore_states(const std::map<std::string, std::string>& states) {
  for (const auto& listener : listeners_) {
    const auto found = states.find(listener->name());
    if (found != states.end()) listener->restore(found->second);
  }
}

}  // namespace millrace
