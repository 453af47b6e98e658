// Collects the metrics of steps and reports them to people (progress bar or log line), metrics.jsonl and TensorBoard.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/run_config.h"
#include "metrics/loss_breakdown.h"
#include "metrics/memory.h"

namespace millrace {

// One optimizer step, of all ranks together.
struct StepMetrics {
  int64_t step = 0;
  int64_t epoch = 0;  // from 1; 0: unknown
  double loss = 0;
  double grad_norm = 0;
  double lr = 0;
  std::optional<double> effective_lr = {};  // the step size that a rule such as Prodigy made of lr; unset: lr itself
  int64_t samples = 0;
  int64_t total_samples = 0;  // of all steps so far
  int64_t tokens = 0;
  double weight = 0;           // terms of the loss: Task::weight_name() says what they are
  double data_seconds = 0;     // of the step, waiting for data
  uint64_t sample_digest = 0;  // of the samples that the step trained on; the same for any split over ranks and batches
};

// A number of a step, by its tag in TensorBoard.
struct TaggedNumber {
  std::string tag;
  double value = 0;
};

// sd-scripts' tags of a mean loss, over an epoch's steps: after every step that of the last so many, and after an
// epoch's last step. Validations are compared with them.
inline constexpr const char* kAverageLossTag = "loss/average";
inline constexpr const char* kEpochLossTag = "loss/epoch_average";

// One validation, of all ranks together.
struct ValidationMetrics {
  int64_t step = 0;
  double loss = 0;
  int64_t samples = 0;
  int64_t trained_samples = 0;  // of all steps so far
  int64_t tokens = 0;
  double seconds = 0;
  std::optional<double> perplexity = {};  // of language models
  std::vector<LossBreakdown> breakdowns;  // logged as "validation_loss_per_<name>"; may be empty
};

// Whether a step is recorded: step 1, every log_freq steps and the last one.
bool logs_step(const MetricsConfig& config, int64_t step, int64_t total_steps);

struct MetricLoggerOptions {
  std::filesystem::path dump_folder;
  MetricsConfig config;
  int64_t total_steps = 0;
  int64_t first_step = 1;   // the first that this process runs
  std::string weight_name;  // if not "", a step's tokens and its weight, under this name, are in metrics.jsonl
  double flops_per_sample = 0;
  double peak_flops = 0;     // of one rank's device; 0: unknown, and MFU is not shown
  int64_t ranks = 1;         // that share the steps
  bool writes_files = true;  // metrics.jsonl and TensorBoard's, and draws the bar: one rank of many
  // Memory of the training device; unset: of this process. Called at the same steps on all ranks, so that it may return
  // the maximum over ranks.
  std::function<MemoryUse()> memory;
  // What TensorBoard gets besides what every run has. Called for every step; unset: nothing.
  std::function<std::vector<TaggedNumber>(const StepMetrics&)> more;
};

class MetricLogger {
 public:
  explicit MetricLogger(const MetricLoggerOptions& options);
  ~MetricLogger();

  // Counts every step; writes step 1, every log_freq steps and the last one. Speeds cover the steps since the previous
  // line, in wall time including data. The first step of a resumed run is shown but not recorded, so that
  // metrics.jsonl holds the same steps as an uninterrupted run's.
  void log_step(const StepMetrics& metrics);
  // On all ranks, like log_step().
  void log_validation(const ValidationMetrics& metrics);
  // Gives TensorBoard the texts that a preview has left in samples/step-<step>.txt of the run's folder; nothing where
  // there are none.
  void log_preview(int64_t step);
  // Removes the progress bar and prints a summary of the run. Call before anything else is printed at the end.
  void finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace millrace
