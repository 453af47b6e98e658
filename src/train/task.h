// A task as the step loop sees it, without its model, data or loss.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "metrics/loss_breakdown.h"
#include "metrics/metric_logger.h"
#include "optim/rate_group.h"
#include "parallel/flat_parameters.h"

namespace millrace {

// One microbatch's part of a step, on this rank. A step is the sum over all microbatches and ranks; its loss is the sum
// of the losses divided by the sum of the weights.
struct MicrobatchResult {
  torch::Tensor loss_1;  // fp64, one element: scale x the sum of the losses; left on the model's device, so that no
                         // synchronisation is needed yet
  double weight = 0;     // number of terms in that sum: samples, unmasked tokens; finite, 0 or more
  int64_t num_samples = 0;
  int64_t num_tokens = 0;
  double data_seconds = 0;     // spent waiting for data
  uint64_t sample_digest = 0;  // see sample_digest.h
};

// A file, or a folder of files, that a task has read weights from.
struct WeightSource {
  std::filesystem::path path;
  std::string prefix = {};  // of the names of these weights, in files that also hold other models
  double largest = std::numeric_limits<double>::infinity();  // magnitude that they can be stored with
};

// The result of a validation; the same on every rank.
struct ValidationResult {
  double loss = 0;  // compared with the target
  int64_t num_samples = 0;
  std::vector<LossBreakdown> breakdowns;  // of that loss; may be empty
  std::optional<double> perplexity = {};  // of language models
};

// A moment between two steps at which a task may show previews from its model.
struct PreviewMoment {
  int64_t step = 0;        // steps done; 0: before the first
  bool validated = false;  // a validation has just ended
  bool last = false;       // no step follows
};

// Evaluating needs no training data, and its weights come from a checkpoint.
enum class TaskPurpose { kTrain, kEvaluate };

// On many ranks, each has its own Task, and all call the same functions in the same order.
class Task {
 public:
  virtual ~Task() = default;

  virtual FlatParameters& parameters() = 0;

  // The expected weight of a microbatch summed over all ranks, known before the run. It only sets the scale in which
  // losses and gradients are summed; the loop divides by the actual weights.
  virtual double expected_weight() const = 0;
  // Parameters with learning rates of their own, in the order of their layout; empty: all have the optimizer's. The
  // same on every rank.
  virtual std::vector<RateGroup> rate_groups() const { return {}; }
  // Before each update, with this rank's part of the gradients in the layout of parameters(): times factor_1, one
  // element, they are what the optimizer gets. All ranks call it, so that it may gather them.
  virtual void gradients_ready(int64_t /*step*/, const torch::Tensor& /*grad*/, const torch::Tensor& /*factor_1*/) {}
  // After each update. All ranks call it, so that it may gather weights; it may change them.
  virtual void weights_changed() {}
  // What a weight counts, as metrics.jsonl calls it beside a step's tokens; "": nothing worth a record.
  virtual const char* weight_name() const { return ""; }
  // The epoch of the data in which the last microbatch began, from 1; 0: the task does not count epochs.
  virtual int64_t epoch() const { return 0; }
  // Of a run that is to leave a checkpoint of each epoch: the epoch, from 0, that is over after this step. The same on
  // every rank.
  virtual std::optional<int64_t> epoch_to_save(int64_t /*step*/) const { return std::nullopt; }
  // What TensorBoard gets of a step besides what every run has. Called after every step, on every rank.
  virtual std::vector<TaggedNumber> numbers_of(const StepMetrics& /*step*/) { return {}; }
  // Waits for this rank's part of the next microbatch.
  virtual void next_microbatch() = 0;
  // The weight that train_microbatch() will report of it; nullopt: not known before, so that optimizer.in_backward is
  // not possible.
  virtual std::optional<double> arrived_weight() const { return std::nullopt; }
  // Runs forward and backward on it and adds scale x the gradients of the sum of its losses. With weight 0 it adds
  // zeros, but takes part in the collectives.
  virtual MicrobatchResult train_microbatch(double scale) = 0;

  // The loss over the whole validation set, collectively on all ranks, with the current weights; nullopt if the
  // task has no such set.
  virtual std::optional<ValidationResult> validate() = 0;

  // Pictures or texts made with the current weights, for people to look at. previews_due() answers the same on all
  // ranks; then all call preview() and the first writes into the run's folder. If that is impossible, the log
  // says why, once.
  virtual bool previews_due(const PreviewMoment& moment) const = 0;
  virtual void preview(const PreviewMoment& moment, const std::filesystem::path& run_folder) = 0;

  // What a task leaves in the run's folder beside its checkpoints, such as a file for other programs: written at every
  // checkpoint and at the end, with the weights that are validated. All ranks call it where writes_result() is true,
  // which is the same on all; the first returns the files or folders that it has written. It may be called once more
  // after restore_state(), where it was not completed.
  using Files = std::vector<std::filesystem::path>;
  virtual bool writes_result() const { return false; }
  virtual Files write_result(int64_t /*step*/, const std::filesystem::path& /*run_folder*/) { return {}; }
  // Such files that stay, under names of their own, of a task that writes results: keeps_result() says after which
  // steps, the same on all ranks, with or without a checkpoint there. last: no step follows.
  virtual bool keeps_result(int64_t /*step*/, bool /*last*/) const { return false; }
  virtual Files keep_result(int64_t /*step*/, bool /*last*/, const std::filesystem::path& /*run_folder*/) { return {}; }

  // Saves the position in the data after the last microbatch as JSON, and restores it. The same on every rank.
  virtual std::string data_position() const = 0;
  virtual void restore_data_position(const std::string& position) = 0;
  // What else of a run so far the task keeps in checkpoints, as JSON; "": nothing. The same on every rank. A checkpoint
  // of another version may have none: it is then not restored.
  virtual std::string state() const { return ""; }
  virtual void restore_state(const std::string& /*state*/) {}

  virtual double flops_per_sample() const = 0;  // of the model, forward and backward
  // Fingerprint of all weights from files: ranks that read different files must not train together.
  virtual uint64_t weights_fingerprint() const = 0;
  // The files that its weights came from, but for the run's own checkpoints; small ones first. They are searched for
  // what is wrong with them where a loss is not finite.
  virtual std::vector<WeightSource> weight_sources() const { return {}; }
  // Lines for the log about the model and the data, before step 1.
  virtual std::vector<std::string> describe() const = 0;
};

}  // namespace millrace
