// All listeners of a run on this rank, as one.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "train/run_listener.h"

namespace millrace {

class RunListeners : public RunListener {
 public:
  explicit RunListeners(std::vector<std::unique_ptr<RunListener>> listeners) : listeners_(std::move(listeners)) {}
  std::string name() const override { return "run"; }

  void run_prepares(const RunFacts& facts) override;
  void run_starts() override;
  void step_starts(int64_t step) override;
  void step_ends(const StepMetrics& metrics) override;
  void validation_starts(int64_t step) override;
  void validation_ends(int64_t step, const ValidationResult& result) override;
  void checkpoint_saved(const SavedCheckpoint& saved) override;
  // Called once, even if the run fails after it has ended. Throws only for a run that ended by itself.
  void run_ends(RunEnd end) override;

  // States by name. States of absent listeners are kept: those may be back in a later process of the run.
  void put_states(std::map<std::string, std::string>& states) const;
  void restore_states(const std::map<std::string, std::string>& states);

 private:
  std::vector<std::unique_ptr<RunListener>> listeners_;
  bool has_ended_ = false;
};

}  // namespace millrace
