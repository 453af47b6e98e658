#include "train/run_folder.h"

#include <filesystem>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/files.h"
#include "base/log.h"
#include "base/temporary_files.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/loaded_checkpoint.h"
#include "train/rank_peers.h"
#include "train/result_record.h"
#include "train/train_state.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// Separate from the checkpoints' lock, in case checkpoint.folder is this folder or is shared by several runs.
constexpr const char* kLockName = ".run-lock";

// Files that a process was killed over, in the folders where a run writes for other programs.
void remove_unfinished_files(const fs::path& run_folder) {
  for (const char* name : {"", "adapter", "best", "best/adapter", "samples"}) {
    std::vector<fs::path> unfinished;
    std::error_code error;
    for (fs::directory_iterator entry(run_folder / name, error), end; !error && entry != end; entry.increment(error)) {
      if (is_temporary_name(entry->path().filename().string())) unfinished.push_back(entry->path());
    }
    for (const fs::path& path : unfinished) fs::remove(path, error);
  }
}

// In the order of checking: the checkpoint that a run resumes from decides what is left to do.
std::string reason_to_do_nothing(const RunConfig& config, bool writes_results) {
  const fs::path checkpoints = fs::path(config.job.dump_folder) / config.checkpoint.folder;
  if (!config.checkpoint.enable || step_folders(checkpoints).empty()) return "";
  const CheckpointIndex index = look_into_checkpoint(checkpoints, config.checkpoint.load_step);
  const Progress progress = parse_state_json(index.state_json);
  if (!has_ended(progress, config) || (writes_results && !has_step_results(config, progress))) return "";
  const std::string where = str("[", config.job.dump_folder, "] nothing is left to do: ");
  if (has_reached_target(progress, config.validation)) {
    return str(where, "validation loss ", *progress.validation_loss, " reached the target ",
               config.validation.target_loss, " at step ", progress.step);
  }
  if (has_run_out_of_patience(progress, config.validation)) {
    return str(where, progress.worse_validations, " validations were no better than that of step ", progress.best_step,
               " (try a larger --validation.patience)");
  }
  return str(where, "already at step ", progress.step, " of ", config.training.steps,
             " (try a larger --training.steps, or --checkpoint.load_step=N to go back to an older checkpoint)");
}

}  // namespace

RunFolder::RunFolder(const RunConfig& config, Communicator& ranks, bool writes_results) {
  const auto open = [&] {
    if (ranks.world().rank != 0) return std::string();
    create_folders(config.job.dump_folder);
    lock_.emplace(config.job.dump_folder, kLockName);
    std::string reason = reason_to_do_nothing(config, writes_results);
    if (reason.empty()) remove_unfinished_files(config.job.dump_folder);
    return reason;
  };
  nothing_to_do_ = first_message(*make_peers(ranks), "open the run's folder", open);
}

}  // namespace millrace
