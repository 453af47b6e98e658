#include "tasks/llama_finetune/llama_sampler.h"

#include "base/error.h"
#include "models/model_table.h"
#include "parallel/configured_placement.h"
#include "tasks/llama_finetune/llama_data.h"
#include "tasks/llama_finetune/llama_texts.h"
#include "tasks/llama_finetune/llama_trainee.h"
#include "tasks/load_run.h"

namespace millrace {
namespace {

class LlamaSampler : public TextSampler {
 public:
  LlamaSampler(const LlamaRunConfig& config, const OpenRunWeights* run, torch::Device device)
      : sample_(config.sample), encoder_(config.tokenizer_path(), row_encoder_options(config)) {
    const llama::LlamaConfig sizes = llama_sizes(config);
    const FlatParametersOptions placement{compute_dtype(config, device), device, /*training=*/false};
    const bool is_whole_run = run != nullptr && config.lora() == nullptr;
    trainee_ = is_whole_run ? make_empty_llama_trainee(config, sizes, placement)
                            : make_llama_trainee(config, sizes, placement, std::nullopt);
    if (run != nullptr) load_run(*run, trainee_->parameters());
  }

  std::string answer(const std::vector<std::string>& turns, const TextSampling& sampling, int64_t number) override {
    llama::GenerateOptions options = text_options(sample_);
    if (sampling.max_new_tokens) options.max_new_tokens = *sampling.max_new_tokens;
    if (sampling.temperature) options.temperature = *sampling.temperature;
    if (sampling.top_p) options.top_p = *sampling.top_p;
    if (sampling.seed) options.seed = static_cast<uint64_t>(*sampling.seed);
    options.id = static_cast<uint64_t>(number);
    return millrace::answer(*trainee_, encoder_, turns, options);
  }
  bool has_conversations() const override { return encoder_.has_conversations(); }

 private:
  TextSampleConfig sample_;
  RowEncoder encoder_;
  std::unique_ptr<LlamaTrainee> trainee_;
};

}  // namespace

std::unique_ptr<TextSampler> make_llama_sampler(const RunConfig& config, const OpenRunWeights* run,
                                                torch::Device device) {
  return std::make_unique<LlamaSampler>(as_llama(config), run, device);
}

}  // namespace millrace
