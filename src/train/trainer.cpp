#include "train/trainer.h"

#include <cmath>
#include <filesystem>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "checkpoint/checkpointer.h"
#include "metrics/metric_logger.h"
#include "metrics/profiler.h"
#include "metrics/report.h"
#include "optim/adam_optimizer.h"
#include "optim/clip.h"
#include "optim/ema.h"
#include "optim/lr_schedule.h"
#include "train/stop_signals.h"
#include "train/train_state.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

LrSchedule make_schedule(const RunConfig& config) {
  const LrSchedulerConfig& schedule = config.lr_scheduler;
  return LrSchedule({.total_steps = schedule.total_steps.value_or(config.training.steps),
                     .warmup_steps = schedule.warmup_steps,
                     .decay_ratio = schedule.decay_ratio,
                     .decay_type = parse_decay_type(schedule.decay_type),
                     .min_lr_factor = schedule.min_lr_factor});
}

FlatGroup make_group(const FlatParameters& parameters) {
  FlatGroup group{"parameters", parameters.master(), parameters.grad(), {}};
  if (!parameters.compute().is_same(parameters.master())) group.model_copy = parameters.compute();
  for (const ParameterSlice& slice : parameters.slices()) {
    group.parameters.push_back({slice.name, slice.begin, slice.size});
  }
  return group;
}

int64_t microbatches_per_step(const TrainingConfig& training) {
  if (training.global_batch_size < 0) return 1;
  if (training.global_batch_size == 0 || training.global_batch_size % training.local_batch_size != 0) {
    throw ConfigError(str("[training.global_batch_size] expected a multiple of local_batch_size ",
                          training.local_batch_size, ", got ", training.global_batch_size));
  }
  return training.global_batch_size / training.local_batch_size;
}

// Validation by steps, or by samples rounded up to whole steps.
int64_t validation_interval(const RunConfig& config, int64_t samples_per_step) {
  const ValidationConfig& validation = config.validation;
  if (validation.freq_samples <= 0) return validation.freq;
  return (validation.freq_samples + samples_per_step - 1) / samples_per_step;
}

class Trainer {
 public:
  Trainer(Task& task, const RunConfig& config)
      : task_(task),
        config_(config),
        folder_(config.job.dump_folder),
        microbatches_(microbatches_per_step(config.training)),
        seed_(static_cast<uint64_t>(config.training.seed.value_or(0))),
        schedule_(make_schedule(config)),
        optimizer_({make_group_with_accumulation()}, optimizer_options()) {
    if (config_.checkpoint.enable) {
      checkpointer_ = std::make_unique<Checkpointer>(
          CheckpointerOptions{folder_ / config_.checkpoint.folder, static_cast<int>(config_.checkpoint.keep_latest_k),
                              config_.checkpoint.async_mode != "disabled"});
    }
  }

  void run() {
    resume();
    MetricLoggerOptions metrics;
    metrics.dump_folder = folder_;
    metrics.config = config_.metrics;
    metrics.total_steps = config_.training.steps;
    metrics.first_step = progress_.step + 1;
    metrics.samples_per_step = microbatches_ * config_.training.local_batch_size;
    metrics.flops_per_sample = task_.flops_per_sample();
    MetricLogger logger(metrics);
    StepProfiler profiler(config_.profiling, folder_);
    const StopSignals stop;
    if (progress_.step == 0) draw_samples();

    while (progress_.step < config_.training.steps) {
      step(logger);
      profiler.step(progress_.step);
      const bool last = progress_.step == config_.training.steps;
      bool reached = false;
      if (config_.validation.enable && (last || due(validation_interval(config_, metrics.samples_per_step)))) {
        reached = validate(logger);
      }
      if (config_.sample.every_steps > 0 && (last || reached || due(config_.sample.every_steps))) draw_samples();
      if (stop.requested() != 0 && !last) {
        save(/*wait=*/true);
        logger.finish();
        update_report();
        throw Preempted(str("[signal ", stop.requested(), "] stopped after step ", progress_.step,
                            checkpointer_ ? " with a checkpoint; the same command goes on from there"
                                          : " without a checkpoint (checkpoint.enable is false)"));
      }
      if (last || reached) {
        save(/*wait=*/true);
        break;
      }
      if (due(config_.checkpoint.interval)) {
        save(/*wait=*/false);
        update_report();
      }
    }
    logger.finish();
    update_report(/*finished=*/true);
  }

 private:
  FlatGroup make_group_with_accumulation() {
    FlatGroup group = make_group(task_.parameters());
    if (microbatches_ > 1 && group.grad.scalar_type() != torch::kFloat32) {
      // Sums of many narrow gradients are kept in fp32.
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

  bool due(int64_t interval) const { return progress_.step % interval == 0; }

  void resume() {
    progress_.data_position = task_.data_position();
    if (!checkpointer_) return;
    if (checkpointer_->steps().empty()) {
      if (config_.checkpoint.load_step >= 0) checkpointer_->load(config_.checkpoint.load_step);  // says what is missing
      return;
    }
    const LoadedCheckpoint checkpoint = checkpointer_->load(config_.checkpoint.load_step);
    checkpoint.copy_into(checkpoint_tensors(task_.parameters(), optimizer_));
    task_.parameters().refresh_compute();
    progress_ = parse_state_json(checkpoint.state_json(), seed_);
    optimizer_.set_step_count(progress_.step);
    task_.restore_data_position(progress_.data_position);
    log_info("going on from step ", progress_.step, " (", (folder_ / config_.checkpoint.folder).string(), ")");
  }

  void step(MetricLogger& logger) {
    StepMetrics metrics;
    metrics.step = progress_.step + 1;
    for (int64_t i = 0; i < microbatches_; ++i) {
      const MicrobatchResult result = task_.train_microbatch(static_cast<int>(microbatches_));
      if (!std::isfinite(result.loss)) {
        throw NumericsError(str("[step ", metrics.step, "] expected a finite loss, got ", result.loss,
                                " (try a lower optimizer.lr or more lr_scheduler.warmup_steps; nothing was saved)"));
      }
      if (accumulated_.defined()) {
        accumulated_.add_(task_.parameters().grad());
        task_.parameters().grad().zero_();
      }
      metrics.loss += result.loss;
      metrics.samples += result.num_samples;
      metrics.tokens += result.num_tokens;
      metrics.data_seconds += result.data_seconds;
    }
    const GradNorm norm = global_grad_norm(optimizer_.groups(), config_.training.max_norm);
    try {
      metrics.grad_norm = finite_norm(norm, optimizer_.groups());
    } catch (const NumericsError& error) {
      throw NumericsError(str("[step ", metrics.step, "] ", error.what()));
    }
    metrics.lr = config_.optimizer.lr * schedule_.factor(progress_.step);
    optimizer_.step(metrics.lr, norm.coefficient_1);
    progress_.step += 1;
    progress_.samples += metrics.samples;
    progress_.data_position = task_.data_position();
    logger.log_step(metrics);
    if (checkpointer_) checkpointer_->throw_if_failed();
  }

  // True when the target is reached.
  bool validate(MetricLogger& logger) {
    std::optional<double> loss;
    {
      const auto averaged = use_averages();
      loss = task_.validate();
    }
    if (!loss) return false;
    logger.log_validation(progress_.step, *loss);
    const bool reached = config_.validation.target_loss > 0 && *loss <= config_.validation.target_loss;
    if (reached) log_info("validation loss ", *loss, " reached the target ", config_.validation.target_loss);
    return reached;
  }

  void draw_samples() {
    if (config_.sample.every_steps <= 0) return;
    const auto averaged = use_averages();
    task_.sample(progress_.step, folder_ / "samples");
  }

  std::unique_ptr<UseAveragedWeights> use_averages() {
    if (optimizer_.averages().empty()) return nullptr;
    return std::make_unique<UseAveragedWeights>(optimizer_.groups(), optimizer_.averages());
  }

  void save(bool wait) {
    if (!checkpointer_) return;
    const std::vector<NamedTensor> tensors = checkpoint_tensors(task_.parameters(), optimizer_);
    const std::string state = to_state_json(progress_, seed_);
    if (wait) {
      checkpointer_->save_and_wait(progress_.step, tensors, state);
    } else {
      checkpointer_->save(progress_.step, tensors, state);
    }
  }

  void update_report(bool finished = false) {
    if (!config_.report.enable) return;
    try {
      write_report(folder_, {.finished = finished});
    } catch (const std::exception& error) {
      log_warning("report.html was not written: ", error.what());  // a page about the run must not end the run
    }
  }

  Task& task_;
  const RunConfig& config_;
  fs::path folder_;
  int64_t microbatches_;
  uint64_t seed_;
  LrSchedule schedule_;
  torch::Tensor accumulated_;
  AdamOptimizer optimizer_;
  std::unique_ptr<Checkpointer> checkpointer_;
  Progress progress_;
};

}  // namespace

void train(Task& task, const RunConfig& config) {
  const fs::path folder = config.job.dump_folder;
  create_folders(folder);
  log_to_file(folder / "log.txt");
  write_file_atomically(folder / "config.toml", to_toml(config));
  for (const std::string& line : task.describe()) log_info(line);
  Trainer(task, config).run();
}

}  // namespace millrace
