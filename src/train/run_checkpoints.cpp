#include "train/run_checkpoints.h"

#include <utility>

#include "base/log.h"
#include "checkpoint/best_checkpoint.h"
#include "checkpoint/checkpoint_folder.h"
#include "train/rank_peers.h"

namespace millrace {

RunCheckpoints::RunCheckpoints(Task& task, Optimizer& optimizer, const MovingAverage* average, const RunConfig& config,
                               Settings settings, std::shared_ptr<Peers> peers, int ranks_on_host)
    : task_(task),
      optimizer_(optimizer),
      average_(average),
      folder_(std::filesystem::path(config.job.dump_folder) / config.checkpoint.folder),
      load_step_(config.checkpoint.load_step),
      writes_in_background_(config.checkpoint.async_mode != "disabled"),
      keeps_best_(config.checkpoint.keep_best),
      seed_(static_cast<uint64_t>(config.training.seed.value_or(0))),
      settings_(std::move(settings)),
      peers_(std::move(peers)) {
  if (!config.checkpoint.enable) return;
  checkpointer_ = std::make_unique<Checkpointer>(
      CheckpointerOptions{.folder = folder_,
                          .keep_latest_k = static_cast<int>(config.checkpoint.keep_latest_k),
                          .async = writes_in_background_,
                          .peers = peers_,
                          .ranks_on_host = ranks_on_host});
}

bool RunCheckpoints::is_new_run() {
  if (!checkpointer_) return true;
  // A shared folder may look different from each machine: only one rank's view counts.
  return ask_first_rank(*peers_, "is the run new", [&] { return !checkpointer_->has_steps(); });
}

Progress RunCheckpoints::resume(bool is_new) {
  if (is_new) {
    if (checkpointer_ && load_step_ >= 0) checkpointer_->load(load_step_);  // throws: there is none
    Progress progress;
    progress.data_position = task_.data_position();
    return progress;
  }
  const LoadedCheckpoint checkpoint = checkpointer_->load(load_step_);
  warn_of_changes(checkpoint);
  checkpoint.copy_into(pieces());
  task_.parameters().refresh_compute();
  Progress progress = parse_state_json(checkpoint.state_json());
  if (keeps_best_) keep_as_best(progress);  // where the process before ended after the save and before this
  optimizer_.set_step_count(progress.updates());
  task_.restore_data_position(progress.data_position);
  if (!progress.task_state.empty()) task_.restore_state(progress.task_state);
  log_info("resuming from step ", progress.step, " (", folder_.string(), ")");
  return progress;
}

// Before anything is loaded from the checkpoint: if it does not fit, these lines say why.
void RunCheckpoints::warn_of_changes(const LoadedCheckpoint& checkpoint) const {
  if (peers_->rank() != 0) return;
  Settings before = settings_in_state(checkpoint.state_json());
  if (before.empty()) before = settings_in_file(folder_.parent_path() / "config.toml");
  for (const std::string& line : changed_settings(before, settings_)) {
    log_warning(line, ", changed since the checkpoint of step ", checkpoint.step());
  }
}

void RunCheckpoints::reserve() {
  if (checkpointer_ && writes_in_background_) checkpointer_->reserve(pieces());
}

void RunCheckpoints::save(const Progress& progress, bool wait) {
  if (!checkpointer_) return;
  finish();
  const std::string state = to_state_json(progress, seed_, settings_);
  if (wait) {
    checkpointer_->save_and_wait(progress.step, pieces(), state);
  } else {
    checkpointer_->save(progress.step, pieces(), state);
  }
  under_way_ = progress.step;
  if (wait || !checkpointer_->saves_in_background()) finish();
}

std::vector<int64_t> RunCheckpoints::steps_up_to(int64_t step) const {
  if (!checkpointer_) return {};
  std::vector<int64_t> steps = checkpointer_->steps();
  std::erase_if(steps,
                [&](int64_t each) { return each > step || !missing_part(folder_ / step_folder_name(each)).empty(); });
  return steps;
}

void RunCheckpoints::keep_as_best(const Progress& progress) const {
  if (!checkpointer_ || peers_->rank() != 0 || !progress.best_loss || progress.best_step != progress.step) return;
  keep_best_checkpoint(folder_, progress.step);
}

void RunCheckpoints::finish() {
  if (!checkpointer_) return;
  checkpointer_->wait();
  if (under_way_) completed_.push_back(*std::exchange(under_way_, std::nullopt));
}

}  // namespace millrace
