// The checkpoints of a run: saving them, and resuming from them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <utility>
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
  // task, optimizer and average must outlive it. average: of the weights, or null. settings: those that affect the
  // result; checkpoints keep them, and a resumed run names the changed ones.
  RunCheckpoints(Task& task, Optimizer& optimizer, const MovingAverage* average, const RunConfig& config,
                 Settings settings, std::shared_ptr<Peers> peers, int ranks_on_host);

  bool are_enabled() const { return checkpointer_ != nullptr; }
  // True when there is no checkpoint to resume from.
  bool is_new_run();
  // Restores task and optimizer from the checkpoint of checkpoint.load_step, and returns its progress; in a new
  // run, the progress at the start. Throws StorageError when the checkpoint to load does not exist.
  Progress resume(bool is_new);

  // Allocates the memory for saves while training continues, so that the first save need not wait for it.
  void reserve();
  // wait: returns when the checkpoint is complete. Otherwise it is written while training continues.
  void save(const Progress& progress, bool wait);
  // The steps of checkpoints that have become complete since the last call: known at the same step on every rank, of a
  // save in the background after finish().
  std::vector<int64_t> take_completed() { return std::exchange(completed_, {}); }
  // The steps of the complete checkpoints up to this one, ascending, as this rank sees the folder.
  std::vector<int64_t> steps_up_to(int64_t step) const;
  // After a save that waited: keeps its checkpoint as the best, whatever happens to those of other steps. Does nothing
  // unless the progress's own step has the best validation.
  void keep_as_best(const Progress& progress) const;
  // For a save that did not wait: is_over() becomes true when it is written or has failed, at different times on
  // different ranks; finish() waits for it and throws its error.
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
  std::optional<int64_t> under_way_;            // the step of a save in the background
  std::vector<int64_t> completed_;
};

}  // namespace millrace
