#include "tasks/llama_finetune/llama_texts.h"

#include "base/log.h"
#include "base/text_lines.h"
#include "tasks/llama_finetune/llama_adapters.h"

namespace millrace {

std::vector<std::string> text_prompts(const TextSampleConfig& sample) {
  if (sample.every_steps == 0) return {};
  if (sample.prompts_file.empty()) return sample.prompts;
  std::vector<std::string> prompts;
  for (TextLine& line : read_text_lines(sample.prompts_file)) prompts.push_back(std::move(line.text));
  return prompts;
}

llama::GenerateOptions text_options(const TextSampleConfig& sample) {
  llama::GenerateOptions options;
  options.max_new_tokens = sample.max_new_tokens;
  options.temperature = sample.temperature;
  options.top_p = sample.top_p;
  options.seed = static_cast<uint64_t>(sample.seed);
  return options;
}

std::string answer(LlamaTrainee& trainee, const RowEncoder& encoder, const std::vector<int32_t>& prompt,
                   llama::GenerateOptions options, const std::function<void(const std::string& piece)>& on_piece) {
  TextStream stream = encoder.stream(on_piece);
  if (on_piece) options.on_token = [&](int64_t token) { stream.add(static_cast<int32_t>(token)); };
  for (const int32_t id : encoder.stop_tokens()) options.stop_tokens.push_back(id);
  const std::vector<int64_t> ids = trainee.generate({prompt.begin(), prompt.end()}, options);
  if (on_piece) stream.finish();
  return encoder.decode(std::vector<int32_t>(ids.begin(), ids.end()));
}

std::string write_texts(LlamaTrainee& trainee, const RowEncoder& encoder, const std::vector<std::string>& prompts,
                        const llama::GenerateOptions& options) {
  std::string text;
  llama::GenerateOptions own = options;
  for (const std::string& prompt : prompts) {
    text += str("> ", prompt, "\n", answer(trainee, encoder, encoder.prompt({prompt}), own), "\n\n");
    ++own.id;
  }
  return text;
}

PeftFacts peft_facts(const LlamaRunConfig& config, const llama::LlamaConfig& sizes) {
  const LoraConfig& lora = *config.lora();
  PeftFacts facts;
  facts.rank = lora.rank;
  facts.alpha = lora.alpha.value_or(static_cast<double>(lora.rank));
  facts.dropout = lora.dropout;
  facts.alpha_is_rank = !lora.alpha.has_value();
  facts.rank_stabilised = lora.rank_stabilised;
  facts.is_dora = lora.kind == AdapterKind::kDora;
  facts.base_model = config.checkpoint.initial_load_path;
  const llama::Llama model(sizes, {.device = torch::kMeta});
  for (const auto& [name, layer] : model.linear_layers()) facts.layers.push_back(name);
  return facts;
}

}  // namespace millrace
