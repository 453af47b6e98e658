#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "metrics/metric_logger.h"
#include "metrics/profiler.h"
#include "train/cadence.h"
#include "train/rank_peers.h"
#include "train/result_record.h"
#include "train/run_checkpoints.h"
#include "train/run_listeners.h"
#include "train/run_metrics.h"
#include "train/run_report.h"
#include "train/run_steps.h"
#include "train/stop_signals.h"
#include "train/train_step.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// The sequence of events from the first step to the last. Each part has its own file.
class Trainer {
 public:
  Trainer(Task& task, const RunConfig& config, Communicator& ranks, std::vector<std::unique_ptr<RunListener>> listeners)
      : task_(task),
        config_(config),
        ranks_(ranks),
        mesh_(ranks.mesh()),
        folder_(config.job.dump_folder),
        peers_(checked_peers(task, ranks)),
        step_(task, config, ranks, *peers_),
        checkpoints_(task, step_.optimizer(), step_.average(), config,
                     result_settings(config, step_.samples(), task.parameters().compute().scalar_type()), peers_,
                     ranks.world().local_size),
        cadence_(make_cadence(config, step_.samples())),
        listeners_(std::move(listeners)) {}

  void run() {
    try {
      start_and_train();
    } catch (...) {
      listeners_.run_ends(RunEnd::kFailed);
      throw;
    }
  }

 private:
  void start_and_train() {
    const bool is_new = checkpoints_.is_new_run();
    if (is_new && cadence_.steps > 0) listeners_.run_prepares(facts(is_new));
    progress_ = checkpoints_.resume(is_new);
    if (!is_new) {
      saved_step_ = progress_.step;
      const bool is_over = has_ended(progress_, config_);
      write_missing_results(is_over);
      if (is_over) return write_report(/*finished=*/true);
    }
    // Not earlier: if the checkpoint does not fit the configuration, the older config.toml, which does, must stay.
    if (ranks_.world().rank == 0) {
      write_file_atomically(folder_ / "config.toml", to_toml(config_));
      forget_results_after(folder_, progress_.step);
    }
    if (!is_new) {
      listeners_.run_prepares(facts(is_new));
      listeners_.restore_states(progress_.listeners);
      for (const int64_t saved : checkpoints_.steps_up_to(progress_.step)) tell_saved(saved, /*is_new=*/false);
    }
    train();
  }

  void train() {
    if (config_.checkpoint.interval < cadence_.steps - progress_.step) checkpoints_.reserve();
    MetricLoggerOptions metrics = metric_options(task_, config_, ranks_, progress_.step + 1);
    MetricLogger logger(metrics);
    StepProfiler profiler(config_.profiling, folder_, ranks_.world().rank);
    const StopSignals stop;
    if (progress_.step == 0) preview({.step = 0}, logger);

    while (progress_.step < cadence_.steps) {
      int stop_signal = step(logger, stop);
      profiler.step(progress_.step);

      const bool last = cadence_.is_last(progress_.step);
      const bool validates = cadence_.validates(progress_.step);
      progress_.validation_loss = validates ? validate(logger) : std::nullopt;
      const bool is_best = progress_.validation_loss && progress_.note_validation(*progress_.validation_loss);
      const bool reached = cadence_.reaches_target(progress_.validation_loss);
      if (reached) {
        log_info("validation loss ", *progress_.validation_loss, " reached the target ", cadence_.target_loss);
      }

      const bool gives_up = !last && !reached && has_run_out_of_patience(progress_, config_.validation);
      if (gives_up) {
        log_info(progress_.worse_validations, " validations were no better than that of step ", progress_.best_step,
                 ": stopping (validation.patience)");
      }

      const bool ends = last || reached || gives_up;
      keep_result(ends);
      if (ends) {
        finish_saves();
        listeners_.run_ends(reached ? RunEnd::kTargetReached : gives_up ? RunEnd::kOutOfPatience : RunEnd::kStepsDone);
        save(/*wait=*/true);  // before previews, which might fail
      }
      const bool keeps = is_best && config_.checkpoint.keep_best;
      if (keeps) {
        if (!ends) save(/*wait=*/true);
        checkpoints_.keep_as_best(progress_);
        write_best_result();
      }
      const bool previewed = preview({.step = progress_.step, .validated = validates, .last = ends}, logger);
      if (ends) break;

      // These may take minutes: a request that arrived meanwhile should not wait for another step.
      if (validates || previewed) stop_signal = agree_on_stop(std::max(stop_signal, stop.requested()), mesh_, device());
      if (stop_signal != 0) stop_run(stop_signal, logger);
      if (cadence_.saves(progress_.step) || task_.epoch_to_save(progress_.step)) {
        if (!keeps) save(/*wait=*/false);
        write_report(/*finished=*/false);
      }
    }

    logger.finish();
    if (progress_.empty_steps > 0) {
      log_warning(progress_.empty_steps, " of ", progress_.step,
                  " steps had nothing to learn from and changed no weight");
    }
    write_report(/*finished=*/true);
  }

  // One step and its record. Returns the signal that asked any rank to stop, or 0.
  int step(MetricLogger& logger, const StopSignals& stop) {
    const int64_t number = progress_.step + 1;
    ranks_.watch().set_step(number);
    // The clock of a run, and of its first step, starts when all ranks have data.
    const bool first = !std::exchange(has_started_, true);
    if (!first) listeners_.step_starts(number);
    task_.next_microbatch();
    if (first) {
      mesh_.world().barrier();
      listeners_.run_starts();
      listeners_.step_starts(number);
    }

    StepShare share = step_.compute(number);
    share.stop_signal = stop.requested();
    share.save_is_over = checkpoints_.is_over();
    const StepTotals totals = exchange(share, mesh_);
    if (first) ranks_.use_train_timeout();  // all ranks have had their first collective
    StepMetrics metrics = step_.update(number, share, totals);

    progress_.step = number;
    progress_.samples += metrics.samples;
    metrics.total_samples = progress_.samples;
    metrics.epoch = task_.epoch();
    progress_.data_position = task_.data_position();
    if (totals.weight == 0) ++progress_.empty_steps;
    if (metrics.samples > 0) {
      tokens_per_sample_ = static_cast<double>(metrics.tokens) / static_cast<double>(metrics.samples);
    }
    listeners_.step_ends(metrics);
    logger.log_step(metrics);
    // Ranks see the end of a save at different times, but throw its error at the same step.
    if (totals.saves_over == peers_->size()) finish_saves();
    return totals.stop_signal;
  }

  std::optional<double> validate(MetricLogger& logger) {
    listeners_.validation_starts(progress_.step);
    const double start = now_seconds();
    std::optional<ValidationResult> result;
    {
      const auto lent = step_.evaluation_weights();
      result = task_.validate();
    }
    if (!result) return std::nullopt;
    listeners_.validation_ends(progress_.step, *result);
    ValidationMetrics metrics;
    metrics.step = progress_.step;
    metrics.loss = result->loss;
    metrics.samples = result->num_samples;
    metrics.trained_samples = progress_.samples;
    metrics.tokens = std::llround(static_cast<double>(result->num_samples) * tokens_per_sample_);
    metrics.seconds = now_seconds() - start;
    metrics.perplexity = result->perplexity;
    metrics.breakdowns = result->breakdowns;
    logger.log_validation(metrics);
    return result->loss;
  }

  // Returns whether previews were due at this moment.
  bool preview(const PreviewMoment& moment, MetricLogger& logger) {
    if (!task_.previews_due(moment)) return false;
    const auto lent = step_.evaluation_weights();
    task_.preview(moment, folder_);
    logger.log_preview(moment.step);
    return true;
  }

  [[noreturn]] void stop_run(int signal, MetricLogger& logger) {
    listeners_.run_ends(RunEnd::kStopped);
    save(/*wait=*/true);
    logger.finish();
    write_report(/*finished=*/false);
    throw Preempted(str("[signal ", signal, "] stopped after step ", progress_.step,
                        checkpoints_.are_enabled() ? " with a checkpoint; the same command resumes from there"
                                                   : " without a checkpoint (checkpoint.enable is false)"));
  }

  void save(bool wait) {
    write_result();
    save_checkpoint(wait);
  }

  void save_checkpoint(bool wait) {
    finish_saves();  // an older checkpoint may be deleted for the new one
    progress_.task_state = task_.state();
    listeners_.put_states(progress_.listeners);
    checkpoints_.save(progress_, wait);
    saved_step_ = progress_.step;
    tell_completed();
  }

  void finish_saves() {
    checkpoints_.finish();
    tell_completed();
  }
  void tell_completed() {
    for (const int64_t step : checkpoints_.take_completed()) tell_saved(step, /*is_new=*/true);
  }
  void tell_saved(int64_t step, bool is_new) {
    listeners_.checkpoint_saved({.step = step, .epoch = task_.epoch_to_save(step), .is_new = is_new});
  }

  void keep_result(bool last) {
    kept_.clear();
    if (!task_.keeps_result(progress_.step, last)) return;
    write_files([&] { kept_ = task_.keep_result(progress_.step, last, folder_); });
  }

  void write_result() {
    if (!task_.writes_result()) return;
    write_files([&] {
      Task::Files files = task_.write_result(progress_.step, folder_);
      files.insert(files.end(), kept_.begin(), kept_.end());
      note(kStepResult, files);
    });
  }

  // The best checkpoint has its own result, beside that of the newest.
  void write_best_result() {
    if (!checkpoints_.are_enabled() || !task_.writes_result()) return;
    const fs::path folder = folder_ / "best";
    if (ranks_.world().rank == 0) create_folders(folder);
    write_files([&] { note(kBestResult, task_.write_result(progress_.step, folder)); });
  }

  void note(const char* result, const Task::Files& files) {
    const bool can_resume = checkpoints_.are_enabled();
    if (can_resume && ranks_.world().rank == 0) note_result(folder_, result, progress_.step, files);
  }

  // Those of the checkpoint that the run resumes from, where the process before ended without them.
  void write_missing_results(bool last) {
    const auto has_them = [&] { return has_step_results(config_, progress_); };
    if (!task_.writes_result() || ask_first_rank(*peers_, "files for other programs", has_them)) return;
    log_info("files for other programs of step ", progress_.step, " are missing or incomplete: they are written now");
    keep_result(last);
    write_result();
    if (is_kept_best(progress_, config_)) write_best_result();
  }

  // What the task leaves for other programs: before the checkpoint of the same step, so that a run that ends in between
  // resumes from an earlier one and writes it again. Where it cannot be written, the run ends after a checkpoint, and
  // the next process writes it.
  void write_files(const std::function<void()>& write) {
    std::string problem;
    {
      const auto lent = step_.evaluation_weights();
      problem = first_message(*peers_, str("files for other programs ", ++num_writings_), [&]() -> std::string {
        try {
          write();
          return "";
        } catch (const StorageError& error) {
          return error.what();
        }
      });
    }
    if (problem.empty()) return;
    if (saved_step_ != progress_.step) {
      log_error(problem);  // what fills the disk may prevent the checkpoint, too
      save_checkpoint(/*wait=*/true);
    }
    throw StorageError(problem);
  }

  void write_report(bool finished) {
    if (ranks_.world().rank == 0) update_report(config_, device(), ranks_.world().size, finished);
  }

  RunFacts facts(bool is_new) {
    RunFacts facts;
    facts.resumes = !is_new;
    facts.samples_per_step = step_.samples();
    facts.microbatches_per_step = step_.microbatches();
    facts.validation_interval = validation_interval(config_.validation, step_.samples());
    facts.warmup_steps = step_.schedule().warmup_steps();
    facts.seed = static_cast<uint64_t>(config_.training.seed.value_or(0));
    facts.mesh = mesh_.shape();
    facts.compute_dtype = task_.parameters().compute().scalar_type();
    return facts;
  }

  torch::Device device() { return task_.parameters().master().device(); }

  // The ranks of the run, which must start from the same weights.
  static std::shared_ptr<Peers> checked_peers(Task& task, Communicator& ranks) {
    std::shared_ptr<Peers> peers = make_peers(ranks);
    check_equal_weights(
        *peers, ranks, [&] { return task.weights_fingerprint(); }, task.parameters().master());
    return peers;
  }

  Task& task_;
  const RunConfig& config_;
  Communicator& ranks_;
  Mesh& mesh_;
  fs::path folder_;
  std::shared_ptr<Peers> peers_;
  TrainStep step_;
  RunCheckpoints checkpoints_;
  Cadence cadence_;
  RunListeners listeners_;
  Progress progress_;
  bool has_started_ = false;  // with its first batch
  int64_t saved_step_ = -1;   // of the newest checkpoint; -1: none
  Task::Files kept_;          // by the task, after this step
  int64_t num_writings_ = 0;  // of files for other programs
  double tokens_per_sample_ = 0;
};

}  // namespace

void train(Task& task, const RunConfig& config, Communicator& ranks,
           std::vector<std::unique_ptr<RunListener>> listeners) {
  const fs::path folder = config.job.dump_folder;
  const int rank = ranks.world().rank;
  create_folders(folder);
  if (rank == 0) {
    log_to_file(folder / "log.txt");
  } else if (config.metrics.save_for_all_ranks) {
    log_to_file(folder / str("log-rank-", rank, ".txt"));
  }
  if (ranks.world().size > 1) log_info(ranks.describe());
  for (const std::string& line : task.describe()) log_info(line);
  Trainer(task, config, ranks, std::move(listeners)).run();
}

}  // namespace millrace
