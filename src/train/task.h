// What the step loop needs to know of a task: nothing of its model, data or loss.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "parallel/flat_parameters.h"

namespace millrace {

struct MicrobatchResult {
  double loss = 0;  // this microbatch's share of the step's loss: the shares of one step add up to it
  int64_t num_samples = 0;
  int64_t num_tokens = 0;
  double data_seconds = 0;  // spent waiting for data
  std::vector<uint64_t> sample_ids;
};

class Task {
 public:
  virtual ~Task() = default;

  virtual FlatParameters& parameters() = 0;

  // Takes the next microbatch, runs forward and backward and adds to the gradients. num_microbatches: how many make up
  // this step, all of the same weight.
  virtual MicrobatchResult train_microbatch(int num_microbatches) = 0;

  // The mean loss over the validation set with the weights as they are now; nothing when the task has no such set.
  virtual std::optional<double> validate() = 0;
  // Draws samples with the weights as they are now into folder/step-%08d.png; false when the configuration asks for
  // none.
  virtual bool sample(int64_t step, const std::filesystem::path& folder) = 0;

  // Where the data stands after the last microbatch, as JSON, and the way back there.
  virtual std::string data_position() const = 0;
  virtual void restore_data_position(const std::string& position) = 0;

  virtual double flops_per_sample() const = 0;  // of the model, forward and backward
  // What a line of the log should say of the model and the data before step 1.
  virtual std::vector<std::string> describe() const = 0;
};

}  // namespace millrace
