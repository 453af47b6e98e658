// Saves a run's checkpoints and finds them again.
//
// A checkpoint is complete or absent, whatever happens to the process, the disk or the machine: see write_checkpoint.h.
// Saving blocks for the copy to host memory only; a thread writes while training goes on.
#pragma once

#include <cstdint>
#include <filesystem>
#include <future>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/loaded_checkpoint.h"
#include "checkpoint/named_tensor.h"
#include "checkpoint/staging.h"

namespace millrace {

struct CheckpointerOptions {
  std::filesystem::path folder;  // holds the step folders; made when there is none
  int keep_latest_k = 10;        // 0 keeps all; older ones go after a newer one is complete
  bool async = true;
};

class Checkpointer {
 public:
  // Takes the folder's lock and removes what killed processes left. Throws StorageError when another process saves
  // there.
  explicit Checkpointer(CheckpointerOptions options);
  // Waits for a save under way; what went wrong with it is logged.
  ~Checkpointer();

  // Saves the tensors as they are now, under unique names, and state_json, a JSON object. With `async` it returns when
  // they are copied; waits first for a save under way and throws what went wrong with that one. Throws StorageError;
  // the older checkpoints are untouched.
  void save(int64_t step, const std::vector<NamedTensor>& tensors, const std::string& state_json);
  // The same, complete on return and without a copy of CPU tensors: for the last step and before exit.
  void save_and_wait(int64_t step, const std::vector<NamedTensor>& tensors, const std::string& state_json);

  // Waits for a save under way. Throws StorageError when it failed.
  void wait();
  // Throws StorageError when a save under way has failed already; does not wait.
  void throw_if_failed();

  // See checkpoint_steps() and load_checkpoint(), which readers without a Checkpointer call.
  std::vector<int64_t> steps() const { return checkpoint_steps(options_.folder); }
  LoadedCheckpoint load(int64_t step = -1) const { return load_checkpoint(options_.folder, step); }

 private:
  void write(int64_t step, const std::vector<NamedTensor>& host_tensors, const std::string& state_json) const;

  CheckpointerOptions options_;
  FolderLock lock_;
  HostStaging staging_;
  std::future<void> under_way_;
  ThreadPool writer_{1};
};

}  // namespace millrace
