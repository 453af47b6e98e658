#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "checkpoint/checkpointer.h"
#include "metrics/device_memory.h"
#include "metrics/flops.h"
#include "metrics/metric_logger.h"
#include "metrics/profiler.h"
#include "metrics/report.h"
#include "nn/device.h"
#include "optim/adam_optimizer.h"
#include "optim/clip.h"
#include "optim/ema.h"
#include "train/mlperf_events.h"
#include "train/numerics_failure.h"
#include "train/parameter_group.h"
#include "train/rank_peers.h"
#include "train/run_steps.h"
#include "train/step_totals.h"
#include "train/stop_signals.h"
#include "train/train_state.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

class Trainer {
 public:
  Trainer(Task& task, const RunConfig& config, Communicator& ranks)
      : task_(task),
        config_(config),
        ranks_(ranks),
        mesh_(ranks.mesh()),
        is_first_(ranks.world().rank == 0),
        folder_(config.job.dump_folder),
        microbatches_(microbatches_per_step(config.training, mesh_.data_size())),
        seed_(static_cast<uint64_t>(config.training.seed.value_or(0))),
        schedule_(make_schedule(config)),
        optimizer_({make_group_with_accumulation()}, optimizer_options()),
        own_ranges_(own_ranges(task.parameters())),
        peers_(make_peers(ranks)) {
    check_equal_weights(*peers_, ranks, task.weights_fingerprint(), task.parameters().master());
    if (config_.checkpoint.enable) {
      checkpointer_ = std::make_unique<Checkpointer>(
          CheckpointerOptions{folder_ / config_.checkpoint.folder, static_cast<int>(config_.checkpoint.keep_latest_k),
                              config_.checkpoint.async_mode != "disabled", peers_});
    }
  }

  void run() {
    try {
      start_and_train();
    } catch (...) {
      abort_events();
      throw;
    }
  }

 private:
  void start_and_train() {
    const bool is_new = is_new_run();
    if (is_new && config_.training.steps > 0) open_events(/*append=*/false);
    resume(is_new);
    if (reached_target()) {
      log_info("validation loss ", *progress_.validation_loss, " reached the target ", config_.validation.target_loss,
               " at step ", progress_.step, ": nothing is left to do");
      update_report(/*finished=*/true);
      return;
    }
    if (!is_new && progress_.step < config_.training.steps) open_events(/*append=*/true);
    train();
  }

  void train() {
    reserve_staging();
    MetricLogger logger(metric_options());
    StepProfiler profiler(config_.profiling, folder_, ranks_.world().rank);
    const StopSignals stop;
    if (progress_.step == 0) draw_samples();

    const int64_t validate_every = validation_interval(config_.validation, samples_per_step());
    while (progress_.step < config_.training.steps) {
      int stop_signal = step(logger, stop);
      profiler.step(progress_.step);
      const bool last = progress_.step == config_.training.steps;
      const bool validates = config_.validation.enable && (last || due(validate_every));
      progress_.validation_loss = validates ? validate(logger) : std::nullopt;
      const bool reached = reached_target();
      if (reached) {
        log_info("validation loss ", *progress_.validation_loss, " reached the target ",
                 config_.validation.target_loss);
      }
      const bool ends = last || reached;
      if (events_ && ends) events_->run_stops(reached && validated_as_logged_);
      if (ends) save(/*wait=*/true);  // before pictures, which might fail
      const bool draws = config_.sample.every_steps > 0 && (ends || due(config_.sample.every_steps));
      if (draws) draw_samples();
      if (validates) draw_validation_captions();
      if (ends) break;
      // These may take minutes: a request that came meanwhile should not wait for another step.
      if (validates || draws) stop_signal = agree_on_stop(std::max(stop_signal, stop.requested()), mesh_, device());
      if (stop_signal != 0) {
        abort_events();
        save(/*wait=*/true);
        logger.finish();
        update_report();
        throw Preempted(str("[signal ", stop_signal, "] stopped after step ", progress_.step,
                            checkpointer_ ? " with a checkpoint; the same command goes on from there"
                                          : " without a checkpoint (checkpoint.enable is false)"));
      }
      if (due(config_.checkpoint.interval)) {
        save(/*wait=*/false);
        update_report();
      }
    }
    logger.finish();
    update_report(/*finished=*/true);
  }

  FlatGroup make_group_with_accumulation() {
    FlatGroup group = parameter_group(task_.parameters());
    // Sums of many narrow gradients are kept in fp32. Where data ranks are summed, parallel/ sees to it.
    if (microbatches_ > 1 && mesh_.data_size() == 1 && group.grad.scalar_type() != torch::kFloat32) {
      accumulated_ = torch::zeros_like(group.grad, torch::kFloat32);
      group.grad = accumulated_;
    }
    return group;
  }

  AdamOptimizerOptions optimizer_options() const {
    const OptimizerConfig& optimizer = config_.optimizer;
    return {.decay_mode = parse_optimizer_name(optimizer.name),
            .beta1 = optimizer.beta1,
            .beta2 = optimizer.beta2,
            .eps = optimizer.eps,
            .weight_decay = optimizer.weight_decay,
            .stochastic_rounding = optimizer.stochastic_rounding,
            .seed = seed_,
            .ema_decay = optimizer.ema_decay};
  }

  MetricLoggerOptions metric_options() {
    MetricLoggerOptions options;
    options.dump_folder = folder_;
    options.config = config_.metrics;
    options.total_steps = config_.training.steps;
    options.first_step = progress_.step + 1;
    options.samples_per_step = samples_per_step();
    options.flops_per_sample = task_.flops_per_sample();
    options.peak_flops = peak_flops(device_name(device())).value_or(0);
    options.ranks = ranks_.world().size;
    options.writes_files = is_first_;
    options.memory = [this] { return largest_memory(); };
    return options;
  }

  torch::Device device() { return task_.parameters().master().device(); }
  int64_t samples_per_step() const { return microbatches_ * config_.training.local_batch_size * mesh_.data_size(); }
  bool due(int64_t interval) const { return progress_.step % interval == 0; }

  // Of this rank's device or process, with the largest peak of all ranks.
  MemoryUse largest_memory() {
    MemoryUse use = device().is_cpu() ? process_memory() : device_memory_since_last_call(device());
    const torch::Tensor peak_1 = torch::full({1}, static_cast<int64_t>(use.peak_bytes), torch::kInt64).to(device());
    mesh_.world().all_reduce(peak_1, Reduce::kMax).wait();
    use.peak_bytes = static_cast<uint64_t>(peak_1.item<int64_t>());
    return use;
  }

  bool is_new_run() {
    if (!checkpointer_) return true;
    // A shared folder may look different from each machine: one rank's view counts.
    return ask_first_rank(*peers_, "is the run new", [&] { return checkpointer_->steps().empty(); });
  }

  void resume(bool is_new) {
    progress_.data_position = task_.data_position();
    if (is_new) {
      // Says what is missing.
      if (checkpointer_ && config_.checkpoint.load_step >= 0) checkpointer_->load(config_.checkpoint.load_step);
      return;
    }
    const LoadedCheckpoint checkpoint = checkpointer_->load(config_.checkpoint.load_step);
    checkpoint.copy_into(checkpoint_pieces(task_.parameters(), optimizer_));
    task_.parameters().refresh_compute();
    progress_ = parse_state_json(checkpoint.state_json(), seed_);
    optimizer_.set_step_count(progress_.step);
    task_.restore_data_position(progress_.data_position);
    log_info("going on from step ", progress_.step, " (", (folder_ / config_.checkpoint.folder).string(), ")");
  }

  // The first rank's; behind a barrier all ranks start the clock together, with their first batch.
  void open_events(bool append) {
    if (!logs_for_mlperf(config_)) return;
    if (is_first_) {
      MlperfRun run;
      run.samples_per_step = samples_per_step();
      run.gradient_accumulation_steps = microbatches_;
      run.evaluation_interval_steps = validation_interval(config_.validation, samples_per_step());
      run.warmup_steps = schedule_.warmup_steps();
      run.seed = seed_;
      run.mesh = mesh_.shape();
      run.compute_dtype = task_.parameters().compute().scalar_type();
      events_ = std::make_unique<MlperfEvents>(folder_ / "mlperf_compliance.log", append, config_, run);
    }
    task_.on_first_batch([this] {
      mesh_.world().barrier();
      if (!events_) return;
      events_->run_starts();
      events_->step_starts(progress_.step + 1);
    });
  }

  // On the way out of a failure, which a full disk must not hide.
  void abort_events() noexcept {
    try {
      if (events_) events_->run_stops(/*success=*/false);
    } catch (const std::exception& error) {
      log_warning("the MLPerf log has no run_stop: ", error.what());
    }
  }

  // The first save should not wait for new memory.
  void reserve_staging() {
    const bool saves_while_training = config_.checkpoint.interval < config_.training.steps - progress_.step;
    if (checkpointer_ && config_.checkpoint.async_mode != "disabled" && saves_while_training) {
      checkpointer_->reserve(checkpoint_pieces(task_.parameters(), optimizer_));
    }
  }

  // Returns the signal that asked some rank to stop, or 0.
  int step(MetricLogger& logger, const StopSignals& stop) {
    StepMetrics metrics;
    metrics.step = progress_.step + 1;
    ranks_.watch().set_step(metrics.step);
    // Of the first step the first batch says so.
    if (events_ && events_->is_running()) events_->step_starts(metrics.step);
    StepShare share;
    for (int64_t i = 0; i < microbatches_; ++i) {
      task_.parameters().set_last_microbatch(i + 1 == microbatches_);
      share.add(task_.train_microbatch(static_cast<int>(microbatches_)));
      MILLRACE_CHECK(!events_ || events_->is_running());  // train_microbatch() has said batch_arrived()
      if (accumulated_.defined()) {
        accumulated_.add_(task_.parameters().grad());
        task_.parameters().grad().zero_();
      }
    }
    task_.parameters().finish_backward();
    share.squares_1 = own_squares(optimizer_.groups().at(0).grad, own_ranges_);
    share.stop_signal = stop.requested();
    share.save_is_over = checkpointer_ && checkpointer_->is_over();

    const StepTotals totals = exchange(share, mesh_);
    const GradNorm norm = grad_norm_of_sum(totals.squares_1, config_.training.max_norm);
    metrics.grad_norm = static_cast<float>(std::sqrt(totals.squares));
    if (totals.bad_losses > 0 || !std::isfinite(totals.loss) || !std::isfinite(metrics.grad_norm)) {
      throw_numerics_error(metrics.step, share, totals, optimizer_.groups(), ranks_, *peers_);
    }
    metrics.loss = totals.loss;
    metrics.samples = totals.samples;
    metrics.tokens = totals.tokens;
    metrics.data_seconds = totals.data_seconds;
    metrics.sample_digest = totals.sample_digest;
    metrics.lr = config_.optimizer.lr * schedule_.factor(progress_.step);
    optimizer_.step(metrics.lr, norm.coefficient_1);
    progress_.step += 1;
    progress_.samples += metrics.samples;
    progress_.data_position = task_.data_position();
    if (metrics.samples > 0) {
      tokens_per_sample_ = static_cast<double>(metrics.tokens) / static_cast<double>(metrics.samples);
    }
    if (events_) events_->step_ends(metrics.step, metrics.loss, metrics.lr);
    logger.log_step(metrics);
    // Ranks see the end of a save at different times; what went wrong they throw at the same step.
    if (totals.saves_over == peers_->size()) checkpointer_->wait();
    return totals.stop_signal;
  }

  std::optional<double> validate(MetricLogger& logger) {
    if (events_) events_->evaluation_starts(progress_.step);
    const double start = now_seconds();
    std::optional<ValidationResult> result;
    {
      const auto averaged = use_averages();
      result = task_.validate();
    }
    if (!result) return std::nullopt;
    if (events_) events_->evaluation_ends(progress_.step, result->loss);
    check_logged_samples(result->num_samples);
    ValidationMetrics metrics;
    metrics.step = progress_.step;
    metrics.loss = result->loss;
    metrics.samples = result->num_samples;
    metrics.tokens = std::llround(static_cast<double>(result->num_samples) * tokens_per_sample_);
    metrics.seconds = now_seconds() - start;
    metrics.per_timestep = result->per_timestep;
    logger.log_validation(metrics);
    return result->loss;
  }

  // The log states a number of samples; a run that validated on others did not do what it says.
  void check_logged_samples(int64_t num_samples) {
    if (!events_ || num_samples == config_.mlperf.eval_samples) return;
    if (validated_as_logged_) {
      log_warning("[mlperf.eval_samples] expected the ", with_thousands(num_samples),
                  " samples of the validation, got ", with_thousands(config_.mlperf.eval_samples),
                  ": the MLPerf log will not say \"success\" (try --mlperf.eval_samples=", num_samples,
                  ", if that is the whole set)");
    }
    validated_as_logged_ = false;
  }

  bool reached_target() const {
    const double target = config_.validation.target_loss;
    return config_.validation.enable && target > 0 && progress_.validation_loss && *progress_.validation_loss <= target;
  }

  void draw_samples() {
    if (config_.sample.every_steps <= 0) return;
    const auto averaged = use_averages();
    task_.sample(progress_.step, folder_ / "samples");
  }

  void draw_validation_captions() {
    if (config_.validation.save_img_folder.empty()) return;
    const auto averaged = use_averages();
    task_.sample_validation_captions(progress_.step, folder_ / config_.validation.save_img_folder);
  }

  std::unique_ptr<UseAveragedWeights> use_averages() {
    if (optimizer_.averages().empty()) return nullptr;
    return std::make_unique<UseAveragedWeights>(optimizer_.groups(), optimizer_.averages());
  }

  void save(bool wait) {
    if (!checkpointer_) return;
    const std::vector<NamedPiece> pieces = checkpoint_pieces(task_.parameters(), optimizer_);
    const std::string state = to_state_json(progress_, seed_);
    if (wait) {
      checkpointer_->save_and_wait(progress_.step, pieces, state);
    } else {
      checkpointer_->save(progress_.step, pieces, state);
    }
  }

  void update_report(bool finished = false) {
    if (!config_.report.enable || !is_first_) return;
    ReportOptions options;
    options.finished = finished;
    const std::string name = device_name(device());
    const int count = ranks_.world().size;
    if (!name.empty()) options.hardware = count > 1 ? str(count, " x ", name) : name;
    try {
      write_report(folder_, options);
    } catch (const std::exception& error) {
      log_warning("report.html was not written: ", error.what());  // a page about the run must not end the run
    }
  }

  Task& task_;
  const RunConfig& config_;
  Communicator& ranks_;
  Mesh& mesh_;
  bool is_first_;  // this rank speaks for all: logs, metrics, report
  fs::path folder_;
  int64_t microbatches_;
  uint64_t seed_;
  LrSchedule schedule_;
  torch::Tensor accumulated_;
  AdamOptimizer optimizer_;
  std::vector<ElementRange> own_ranges_;
  std::shared_ptr<Peers> peers_;
  std::unique_ptr<Checkpointer> checkpointer_;
  std::unique_ptr<MlperfEvents> events_;  // the first rank's, where they are wanted
  bool validated_as_logged_ = true;       // on as many samples as that log states
  double tokens_per_sample_ = 0;
  Progress progress_;
};

}  // namespace

void train(Task& task, const RunConfig& config, Communicator& ranks) {
  const fs::path folder = config.job.dump_folder;
  const int rank = ranks.world().rank;
  create_folders(folder);
  if (rank == 0) {
    log_to_file(folder / "log.txt");
    write_file_atomically(folder / "config.toml", to_toml(config));
  } else if (config.metrics.save_for_all_ranks) {
    log_to_file(folder / str("log-rank-", rank, ".txt"));
  }
  if (ranks.world().size > 1) log_info(ranks.describe());
  for (const std::string& line : task.describe()) log_info(line);
  Trainer(task, config, ranks).run();
}

}  // namespace millrace
