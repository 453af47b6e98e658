// The folder of a run before anything in it is changed: whether another process is using it, and whether there is
// anything to do.
#pragma once

#include <optional>
#include <string>

#include "base/folder_lock.h"
#include "comm/communicator.h"
#include "config/run_config.h"

namespace millrace {

class RunFolder {
 public:
  // Collective over all ranks, before models and data are loaded; the object must live as long as the run writes. The
  // first rank creates job.dump_folder and locks it: with or without checkpoints, one run at a time writes there.
  // Throws StorageError, the same on every rank, when another run holds the lock or the checkpoint to resume from is
  // incomplete; nothing in the folder has been changed then. Where there is something to do, files that a killed
  // process left unfinished are deleted. writes_results: Task::writes_result() of the run's task.
  RunFolder(const RunConfig& config, Communicator& ranks, bool writes_results);

  // Why there is nothing to do: the run has reached training.steps or its target, and what its task writes for other
  // programs is complete; else "". Such a run must leave the folder as it is.
  const std::string& nothing_to_do() const { return nothing_to_do_; }

 private:
  std::optional<FolderLock> lock_;  // the first rank's
  std::string nothing_to_do_;
};

}  // namespace millrace
