#include "train/mlperf_listener.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "config/optimizer_rules.h"
#include "formats/mlperf_log.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

// In the checker's spelling.
const char* precision_name(torch::Dtype dtype) {
  return dtype == torch::kBFloat16 ? "bfloat16" : "fp32";
}

void log_submission(MlperfLog& log, const MlperfConfig& mlperf) {
  log.point("submission_benchmark", mlperf.benchmark);
  log.point("submission_division", mlperf.submission_division);
  log.point("submission_org", mlperf.submission_org);
  log.point("submission_platform", mlperf.submission_platform);
  log.point("submission_poc_name", mlperf.submission_poc_name);
  log.point("submission_poc_email", mlperf.submission_poc_email);
  log.point("submission_status", mlperf.submission_status);
  log.point("train_samples", mlperf.train_samples);
  log.point("eval_samples", mlperf.eval_samples);
}

void log_optimizer(MlperfLog& log, const RunConfig& config, const RunFacts& facts) {
  const OptimizerConfig optimizer = with_rule_defaults(config.optimizer);
  log.point("opt_name", to_lower(optimizer.name));
  log.point("opt_learning_rate_warmup_steps", facts.warmup_steps);
  const auto point = [&](const char* key, const std::optional<double>& value) {
    if (value) log.point(key, *value);  // some rules lack this option
  };
  point("opt_adamw_beta_1", optimizer.beta1);
  point("opt_adamw_beta_2", optimizer.beta2);
  point("opt_adamw_epsilon", optimizer.eps);
  point("opt_adamw_weight_decay", optimizer.weight_decay);
  point("opt_base_learning_rate", optimizer.lr);
  log.point("opt_gradient_clip_norm", config.training.max_norm);
}

// Rules 5.1 and 6.0 require the benchmark's interval as configured, rules 6.1 in whole steps.
int64_t evaluation_frequency(const RunConfig& config, const MlperfConfig& mlperf, const RunFacts& facts) {
  const int64_t whole_steps = facts.validation_interval * facts.samples_per_step;
  const bool as_written = mlperf.ruleset != "6.1.0" && config.validation.freq_samples > 0;
  return as_written ? config.validation.freq_samples : whole_steps;
}

// Mandatory since rules 6.1; older rules ignore them.
void log_disclosure(MlperfLog& log, const RunConfig& config, const MlperfConfig& mlperf, const RunFacts& facts) {
  const char* arithmetic = precision_name(facts.compute_dtype);
  const bool reduces_narrow = config.training.mixed_precision_reduce == Precision::kBFloat16;
  log.point("lowest_numerical_precision_in_linear", arithmetic);
  log.point("lowest_numerical_precision_in_attn", arithmetic);
  // Weights are gathered in the compute dtype.
  log.point("lowest_numerical_precision_in_comm", reduces_narrow ? precision_name(torch::kBFloat16) : arithmetic);
  log.point("tensor_parallelism", facts.mesh.tp);
  log.point("pipeline_parallelism", 1);
  log.point("context_parallelism", 1);
  log.point("expert_parallelism", 1);
  log.point("micro_batch_size", config.training.local_batch_size);
  const std::string& file = mlperf.config_filename;
  log.point("config_filename", file.empty() ? "config.toml" : file);
}

class MlperfListener : public RunListener {
 public:
  MlperfListener(const RunConfig& config, MlperfConfig mlperf) : config_(config), mlperf_(std::move(mlperf)) {}
  std::string name() const override { return "mlperf"; }

  void run_prepares(const RunFacts& facts) override {
    samples_per_step_ = facts.samples_per_step;
    const std::filesystem::path folder = config_.job.dump_folder;
    log_.emplace(folder / "mlperf_compliance.log", /*append=*/facts.resumes);
    log_->point("cache_clear", "True");
    log_submission(*log_, mlperf_);
    log_->point("seed", facts.seed);
    log_->point("global_batch_size", facts.samples_per_step);
    log_optimizer(*log_, config_, facts);
    log_->point("gradient_accumulation_steps", facts.microbatches_per_step);
    log_->point("evaluation_frequency", evaluation_frequency(config_, mlperf_, facts));
    const double target = mlperf_.target_accuracy.value_or(config_.validation.target_loss);
    if (target > 0) log_->point("target_accuracy", target);
    log_disclosure(*log_, config_, mlperf_, facts);
    log_->start("init_start", "");
  }

  void run_starts() override {
    log_->end("init_stop", nullptr);
    log_->start("run_start", nullptr);
    is_running_ = true;
  }

  void step_starts(int64_t step) override {
    if (is_logged(step)) log_->start("block_start", "training_step", samples_before(step));
    step_start_ = now_seconds();
  }

  void step_ends(const StepMetrics& metrics) override {
    tracked_seconds_ += std::max(now_seconds() - step_start_, 1e-9);
    ++tracked_steps_;
    if (!is_logged(metrics.step)) return;
    const double seconds_per_step = tracked_seconds_ / static_cast<double>(tracked_steps_);
    log_->point("tracked_stats",
                {{"throughput", static_cast<double>(samples_per_step_) / seconds_per_step},
                 {"loss", metrics.loss},
                 {"lr", metrics.lr},
                 {"train_step_time", seconds_per_step}},
                {{"step_num", metrics.step - 1}});
    log_->end("block_stop", "training_step", samples_before(metrics.step));
    tracked_seconds_ = 0;
    tracked_steps_ = 0;
  }

  void validation_starts(int64_t step) override { log_->point("eval_start", nullptr, samples_before(step + 1)); }

  void validation_ends(int64_t step, const ValidationResult& result) override {
    const Json samples = samples_before(step + 1);
    log_->point("eval_accuracy", result.loss, samples);
    // The open division's rules use this name for the metric.
    if (mlperf_.submission_division == "open") log_->point("averaged_validation_loss", result.loss, samples);
    log_->end("eval_stop", result.loss, samples);
    check_stated_samples(result.num_samples);
  }

  void run_ends(RunEnd end) override {
    if (!std::exchange(is_running_, false)) return;
    const bool success = end == RunEnd::kTargetReached && validated_as_stated_;
    log_->end("run_stop", nullptr, {{"status", success ? "success" : "aborted"}});
  }

  std::string state() const override { return validated_as_stated_ ? "" : Json{{"validated_as_stated", false}}.dump(); }
  void restore(const std::string& state) override {
    validated_as_stated_ = Json::parse(state).value("validated_as_stated", true);
    if (!validated_as_stated_) {
      log_warning(
          "[mlperf.eval_samples] expected every validation to be on as many samples as the log stated, but one before "
          "the run was resumed was not: the MLPerf log will not say \"success\" (try a new run)");
    }
  }

 private:
  bool is_logged(int64_t step) const { return (step - 1) % config_.metrics.log_freq == 0; }
  Json samples_before(int64_t step) const { return {{"samples_count", (step - 1) * samples_per_step_}}; }

  // A run that validated on another number of samples than its log states must not claim success.
  void check_stated_samples(int64_t num_samples) {
    const int64_t stated = mlperf_.eval_samples;
    if (num_samples == stated) return;
    if (validated_as_stated_) {
      log_warning("[mlperf.eval_samples] expected the ", with_thousands(num_samples),
                  " samples of the validation, got ", with_thousands(stated),
                  ": the MLPerf log will not say \"success\" (try --mlperf.eval_samples=", num_samples,
                  ", if that is the whole set)");
    }
    validated_as_stated_ = false;
  }

  const RunConfig& config_;
  MlperfConfig mlperf_;
  std::optional<MlperfLog> log_;
  int64_t samples_per_step_ = 0;
  bool is_running_ = false;
  bool validated_as_stated_ = true;  // every validation so far used as many samples as the log states
  double step_start_ = 0;
  double tracked_seconds_ = 0;
  int64_t tracked_steps_ = 0;
};

}  // namespace

bool logs_for_mlperf(const RunConfig& config, std::optional<bool> mlperf_logging) {
  const ValidationConfig& validation = config.validation;
  return mlperf_logging.value_or(validation.enable && validation.freq_samples > 0 && validation.target_loss > 0);
}

std::unique_ptr<RunListener> make_mlperf_listener(const RunConfig& config, const MlperfConfig& mlperf) {
  return std::make_unique<MlperfListener>(config, mlperf);
}

}  // namespace millrace
