// What the step loop needs to know of a task: nothing of its model, data or loss.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "parallel/flat_parameters.h"

namespace millrace {

// One microbatch's part of a step, on this rank. The parts of all microbatches and ranks add up to the step.
struct MicrobatchResult {
  torch::Tensor loss_1;  // fp64, one element, on the model's device: nobody has to wait for it yet
  int64_t num_samples = 0;
  int64_t num_tokens = 0;
  double data_seconds = 0;     // spent waiting for data
  uint64_t sample_digest = 0;  // see sample_digest.h
};

// What a validation found; the same on every rank.
struct ValidationResult {
  double loss = 0;  // what is compared with the target
  int64_t num_samples = 0;
  std::vector<double>
      per_timestep;  // mean loss at t = i / size(), NaN where there was no sample; empty: the task has none
};

// Evaluating needs no training data, and its weights come from a checkpoint.
enum class TaskPurpose { kTrain, kEvaluate };

// On many ranks, each has its own Task, and all call the same functions in the same order.
class Task {
 public:
  virtual ~Task() = default;

  virtual FlatParameters& parameters() = 0;

  // Takes this rank's part of the next microbatch, runs forward and backward and adds to the gradients.
  // num_microbatches: how many make up this step, all of the same weight.
  virtual MicrobatchResult train_microbatch(int num_microbatches) = 0;

  // The loss over the whole validation set, on all ranks together, with the weights as they are now; nothing when the
  // task has no such set.
  virtual std::optional<ValidationResult> validate() = 0;
  // Draws the configuration's prompts, or the first captions of the validation data, with the weights as they are now
  // into folder/step-%08d.png. All ranks draw, the first writes. Where that cannot be, a line of the log says why,
  // once.
  virtual void sample(int64_t step, const std::filesystem::path& folder) = 0;
  virtual void sample_validation_captions(int64_t step, const std::filesystem::path& folder) = 0;

  // Where the data stands after the last microbatch, as JSON, and the way back there. The same on every rank.
  virtual std::string data_position() const = 0;
  virtual void restore_data_position(const std::string& position) = 0;

  virtual double flops_per_sample() const = 0;  // of the model, forward and backward
  // Of all weights that came from files: ranks that read different ones must not train together.
  virtual uint64_t weights_fingerprint() const = 0;
  // What a line of the log should say of the model and the data before step 1.
  virtual std::vector<std::string> describe() const = 0;

  // The step loop asks to be told, on each rank, when its first batch has arrived and before it is computed.
  void on_first_batch(std::function<void()> handler) { first_batch_ = std::move(handler); }

 protected:
  // For train_microbatch(), once its data is there.
  void batch_arrived() {
    if (first_batch_) std::exchange(first_batch_, nullptr)();
  }

 private:
  std::function<void()> first_batch_;
};

}  // namespace millrace
