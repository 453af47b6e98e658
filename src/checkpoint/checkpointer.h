// Saves a run's checkpoints and finds them again.
//
// A checkpoint is complete or absent, whatever happens to a process, a disk or a machine: see write_checkpoint.h.
// Saving blocks only for the copy to host memory; a thread writes while training continues. On many ranks every rank
// has a Checkpointer for the same folder, on a shared file system, and all ranks call the same functions in the same
// order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "base/folder_lock.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/loaded_checkpoint.h"
#include "checkpoint/named_piece.h"
#include "checkpoint/peers.h"
#include "checkpoint/staging.h"
#include "metrics/memory.h"

namespace millrace {

struct CheckpointerOptions {
  std::filesystem::path folder;  // holds the step folders; created if missing
  int keep_latest_k = 10;        // 0 keeps all; older ones are deleted once a newer one is complete
  bool async = true;
  std::shared_ptr<Peers> peers = std::make_shared<Peers>();                 // by default this rank is alone
  int ranks_on_host = 1;                                                    // which share its memory
  std::function<uint64_t()> available_memory = millrace::available_memory;  // bytes of this host
};

class Checkpointer {
 public:
  // Rank 0 takes the folder's lock and removes leftovers of killed processes. Throws StorageError, on all ranks, when
  // another run saves there.
  explicit Checkpointer(CheckpointerOptions options);
  // Waits for a save in progress, at most half a minute for other ranks; a failure of that save is logged.
  ~Checkpointer();

  // Saves the pieces as they are now, and rank 0's state_json, a JSON object. All ranks' pieces to be saved must
  // together cover each tensor once; a rank may have none. First waits for a save in progress and throws its error, if
  // any. With `async` it returns once the pieces are copied. Throws StorageError, the same on every rank; older
  // checkpoints remain untouched.
  void save(int64_t step, const std::vector<NamedPiece>& pieces, const std::string& state_json);
  // The same, complete on return and without a copy of CPU tensors: for the last step and before exit.
  void save_and_wait(int64_t step, const std::vector<NamedPiece>& pieces, const std::string& state_json);
  // Whole tensors under unique names, on a single rank.
  void save(int64_t step, const std::vector<NamedTensor>& tensors, const std::string& state_json) {
    save(step, whole_pieces(tensors), state_json);
  }
  void save_and_wait(int64_t step, const std::vector<NamedTensor>& tensors, const std::string& state_json) {
    save_and_wait(step, whole_pieces(tensors), state_json);
  }
  // Allocates the memory that save() will need for such pieces, in the background, so that the first save blocks no
  // longer than later ones: touching new memory can take longer than writing the checkpoint. Says how much it is if it
  // must be pinned; where one host has too little, all ranks warn and save like save_and_wait() from then on.
  // Collective.
  void reserve(const std::vector<NamedPiece>& pieces);

  // Whether save() returns before the checkpoint is written: with `async`, unless reserve() found too little memory.
  bool saves_in_background() const { return options_.async; }

  // Waits for a save in progress. Throws StorageError when it failed.
  void wait();
  // True once the save in progress is over; then wait() returns or throws at once. Ranks learn it at different times.
  bool is_over() const;

  // See checkpoint_steps(), which readers without a Checkpointer call.
  std::vector<int64_t> steps() const { return checkpoint_steps(options_.folder); }
  // Whether any entry of the folder is named as a step, complete or not: then the run is not new.
  bool has_steps() const { return !step_folders(options_.folder).empty(); }
  // See load_checkpoint(); collective over all ranks.
  LoadedCheckpoint load(int64_t step = -1);

 private:
  void write(int64_t step, const std::vector<NamedPiece>& pieces, const std::string& state_json, int number) const;

  CheckpointerOptions options_;
  std::optional<FolderLock> lock_;  // rank 0's
  HostStaging staging_;
  int num_saves_ = 0, num_loads_ = 0;
  std::future<void> under_way_;
  ThreadPool writer_{1};
};

}  // namespace millrace
