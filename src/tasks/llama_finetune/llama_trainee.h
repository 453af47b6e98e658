// What a task of Llama trains: the whole model, or adapters on a frozen one. Data, loss, validation and texts do not
// know which.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "models/llama/generate.h"
#include "models/llama/model.h"
#include "optim/rate_group.h"
#include "parallel/flat_parameters.h"
#include "tasks/llama_finetune/llama_run_config.h"

namespace millrace {

class LlamaTrainee {
 public:
  virtual ~LlamaTrainee() = default;

  virtual llama::Llama& model() = 0;
  virtual FlatParameters& parameters() = 0;  // those that are trained
  virtual bool is_adapter() const { return false; }
  // As the task's of these names (train/task.h).
  virtual std::vector<RateGroup> rate_groups() const { return {}; }
  virtual void weights_changed() {}
  // Before train(): names the pass, and with it the random numbers of its dropout.
  virtual void set_pass(uint64_t) {}

  // A step's part: the loss of the tokens, and the gradients of scale times its sum, added to those of parameters().
  virtual TokenLoss train(const llama::PackedTokens& tokens, const torch::Tensor& labels_T, Keep keep,
                          double scale) = 0;
  virtual TokenLoss loss(const llama::PackedTokens& tokens, const torch::Tensor& labels_T) = 0;
  virtual std::vector<int64_t> generate(const std::vector<int64_t>& prompt, const llama::GenerateOptions& options) = 0;
};

// The sizes of the model: model.config, or the config.json beside the weights of checkpoint.initial_load_path. Throws
// ConfigError where there is none, ModelError for a file that is not a decoder's.
llama::LlamaConfig llama_sizes(const LlamaRunConfig& config);

// As the configuration says: adapters where it has a section [lora]. A frozen model has the weights of
// checkpoint.initial_load_path; so has a trained one where the path is set, else values of the seed; without a seed
// they are zero until a checkpoint is loaded. Adapters have values of the seed or of lora.initial_adapter. placement:
// of what is trained. Throws ConfigError where LoRA has no weights to start from, ModelError for files that do not fit.
std::unique_ptr<LlamaTrainee> make_llama_trainee(const LlamaRunConfig& config, const llama::LlamaConfig& sizes,
                                                 const FlatParametersOptions& placement, std::optional<uint64_t> seed);

// The same without any weights: for plans, on the meta device.
std::unique_ptr<LlamaTrainee> make_empty_llama_trainee(const LlamaRunConfig& config, const llama::LlamaConfig& sizes,
                                                       const FlatParametersOptions& placement);

}  // namespace millrace
