// What a run leaves for other programs of each checkpoint, under names of their own in its folder: epoch_0, epoch_1 or
// step_100, step_200, as torchtune's recipes do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "config/run_config.h"
#include "tasks/result_naming.h"
#include "train/run_listener.h"

namespace millrace {

// Which name a checkpoint's folder has; none: it gets none.
std::optional<std::string> result_folder_name(ResultNaming naming, int64_t step, std::optional<int64_t> epoch);

// Writes the folder of a checkpoint: the whole model, with the adapters of a run that trains some merged in, where the
// run leaves one at its end (TaskResult::final_export); the adapters; and what belongs beside them. It appears when it
// is complete, in place of one that was there. checkpoint: its folder. Throws as export_run() does, and StorageError:
// nothing is left of what was written then.
void write_result_folder(const RunConfig& config, const std::string& name, const std::filesystem::path& checkpoint,
                         std::function<bool()> is_cancelled = nullptr);

// The same of the newest checkpoint at a run's end, if it has a name and the record of the run (result_record.h) lacks
// its folder. The weights are those of the folder "model", by hard links where the file system has them, if the run has
// left one.
void write_last_result_folder(const RunConfig& config, ResultNaming naming);

// With checkpoint.keep_best: the model of the best checkpoint as best/model, as "model" has the last one's; at a run's
// end, if the record lacks it.
void write_best_model(const RunConfig& config);

// Deletes folders of earlier checkpoints so that at most keep of this naming remain, the one of this name included; 0
// keeps all. Failures are only logged.
void remove_old_result_folders(const std::filesystem::path& run_folder, ResultNaming naming, const std::string& name,
                               int64_t keep);

// Writes them while training continues, one after the other, from hard links to the checkpoints, which may be deleted
// meanwhile; checkpoint.keep_latest_k holds for them as well. A checkpoint that the process finds at its start gets the
// folder that it lacks. The last checkpoint's is left to write_last_result_folder(). An error ends the run at its next
// step; a run that is stopped or fails abandons what is under way, which the next process writes.
class ResultFolders {
 public:
  ResultFolders(const RunConfig& config, ResultNaming naming);
  ~ResultFolders();
  ResultFolders(const ResultFolders&) = delete;
  ResultFolders& operator=(const ResultFolders&) = delete;

  std::unique_ptr<RunListener> listener();  // for the first rank; this must outlive it
  // Waits for what is under way, which may take as long as reading and writing the model; call it when no rank waits
  // for this one. Throws the first error.
  void finish();

 private:
  class Writer;
  std::unique_ptr<Writer> writer_;
};

}  // namespace millrace
