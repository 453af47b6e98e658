// The checkpoints of a run: what is saved, and how a run resumes from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "checkpoint/checkpointer.h"
#include "checkpoint/peers.h"
#include "config/run_config.h"
#include "optim/ema.h"
#include "optim/optimizer.h"
#include "train/changed_settings.h"
#include "train/task.h"
#include "train/train_state.h"

namespace millrace {

// Without checkpoint.enable every run is new, and nothing is saved. All ranks call the same functions in the same
// order; errors are those of checkpointer.h.
class RunCheckpoints {
 public:
  // task, optimizer and average must live as long. average: of the weights, or null. settings: those that decide the
  // result; checkpoints keep them, and a run that resumes names those that have changed.
  RunCheckpoints(Task& task, Optimizer& optimizer, const MovingAverage* average, const RunConfig& config,
                 Settings settings, std::shared_ptr<Peers> peers);

  bool are_enabled() const { return checkpointer_ != nullptr; }
  // True when there is no checkpoint to resume from.
  bool is_new_run();
  // Puts task and optimizer back to where the checkpoint of checkpoint.load_step is, and returns its progress; in a new
  // run, the progress at the start. Throws StorageError when the checkpoint to load does not exist.
  Progress resume(bool is_new);

  // Takes the memory for saves while training goes on. The first save should not wait for it.
  void reserve();
  // wait: returns when the checkpoint is complete. Otherwise it is written while training goes on.
  void save(const Progress& progress, bool wait);
  // After a save that waited: its checkpoint is kept as the best, whatever becomes of those of other steps. Does
  // nothing unless the progress's own step has the best validation.
  void keep_as_best(const Progress& progress) const;
  // A save that did not wait: is_over() is true when it is written or has failed, at different times on different
  // ranks; finish() waits for it and throws what went wrong.
  bool is_over() const { return checkpointer_ && checkpointer_->is_over(); }
  void finish();

 private:
  void warn_of_changes(const LoadedCheckpoint& checkpoint) const;
  std::vector<NamedPiece> pieces() { return checkpoint_pieces(task_.parameters(), optimizer_, average_); }

  Task& task_;
  Optimizer& optimizer_;
  const MovingAverage* average_;
  std::filesystem::path folder_;
  int64_t load_step_;
  bool writes_in_background_, keeps_best_;
  uint64_t seed_;
  Settings settings_;
  std::shared_ptr<Peers> peers_;
  std::unique_ptr<Checkpointer> checkpointer_;  // null: not enabled
};

}  // namespace millrace
