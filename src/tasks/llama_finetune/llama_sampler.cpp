#include "tasks/llama_finetune/llama_sampler.h"

#include "base/error.h"
#include "base/log.h"
#include "models/model_table.h"
#include "parallel/configured_placement.h"
#include "tasks/llama_finetune/llama_data.h"
#include "tasks/llama_finetune/llama_data_sets.h"
#include "tasks/llama_finetune/llama_texts.h"
#include "tasks/llama_finetune/llama_trainee.h"
#include "tasks/load_run.h"

namespace millrace {
namespace {

TextSampler::Question question_of(const nlohmann::ordered_json& row, const RowFormat& format,
                                  const std::string& place) {
  TextSampler::Question question;
  for (const ChatMessage& message : messages_of_row(row, format, place)) {
    if (message.role == "system" && format.new_system_prompt) continue;
    const bool is_next = message.role == (question.turns.size() % 2 == 0 ? "user" : "assistant");
    if (!is_next) {
      throw DataError(str("[", place, "] expected turns of user and assistant alone to answer, got one of ",
                          message.role, message.role == "system" ? " (try finetune.new_system_prompt)" : ""));
    }
    question.turns.push_back(message.text());
  }
  if (question.turns.size() < 2 || question.turns.size() % 2 != 0) {
    throw DataError(str("[", place, "] expected a conversation that ends with an answer, got one without"));
  }
  question.answer = std::move(question.turns.back());
  question.turns.pop_back();
  return question;
}

class LlamaSampler : public TextSampler {
 public:
  LlamaSampler(const LlamaRunConfig& config, const OpenRunWeights* run, torch::Device device)
      : config_(config), sample_(config.sample), encoder_(config.tokenizer_path(), row_encoder_options(config)) {
    const llama::LlamaConfig sizes = llama_sizes(config);
    const FlatParametersOptions placement{compute_dtype(config, device), device, /*training=*/false};
    const bool is_whole_run = run != nullptr && config.lora() == nullptr;
    trainee_ = is_whole_run ? make_empty_llama_trainee(config, sizes, placement)
                            : make_llama_trainee(config, sizes, placement, std::nullopt);
    if (run != nullptr) load_run(*run, trainee_->parameters());
  }

  std::string answer(const std::vector<std::string>& turns, const TextSampling& sampling, int64_t number,
                     const std::function<void(const std::string& piece)>& on_piece) override {
    llama::GenerateOptions options = text_options(sample_);
    if (sampling.max_new_tokens) options.max_new_tokens = *sampling.max_new_tokens;
    if (sampling.temperature) options.temperature = *sampling.temperature;
    if (sampling.top_p) options.top_p = *sampling.top_p;
    if (sampling.seed) options.seed = static_cast<uint64_t>(*sampling.seed);
    options.id = static_cast<uint64_t>(number);
    return millrace::answer(*trainee_, encoder_, encoder_.prompt(turns, sampling.from_rows), options, on_piece);
  }
  bool has_conversations() const override { return encoder_.has_conversations(); }

  std::vector<Question> questions() const override {
    std::vector<Question> questions;
    for (const LlamaDataSet& set : validation_sets(config_)) {
      if (set.format.style == RowStyle::kText || !has_conversations()) {
        throw ConfigError("[finetune.rows] expected conversations to answer, got texts");
      }
      const RowSet rows = set.rows();
      for (int64_t i = 0; i < rows.size(); ++i) {
        questions.push_back(question_of(rows.row(i), set.format, rows.place(i)));
      }
    }
    return questions;
  }

 private:
  LlamaRunConfig config_;
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
