#include "tasks/llama_finetune/llama_texts.h"

#include "adapters/lokr_sizes.h"
#include "base/log.h"
#include "base/text_lines.h"
#include "tasks/language_files.h"
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

namespace {

// PEFT's LoHa and LoKr have no rank-stabilised scale, and divide alpha by the rank even where LoKr's matrices are whole
// and LyCORIS' scale is 1: their alphas give the scale that was trained with.
void set_lycoris_alphas(const LoraConfig& lora, const llama::Llama& model, PeftFacts& facts) {
  facts.rank_stabilised = facts.alpha_is_rank = false;
  facts.alpha = scale_of_rank(lora, lora.rank) * static_cast<double>(lora.rank);
  facts.lokr_factor = lora.lokr_factor;
  facts.lokr_decompose_both = lora.lokr_decompose_both;
  const LoraScales scales(lora);
  for (const auto& [name, layer] : model.linear_layers()) {
    const auto own = facts.own_ranks.find(name);
    const int64_t rank = own != facts.own_ranks.end() ? own->second : lora.rank;
    const LokrSizes sizes =
        lokr_sizes(layer->in_features(), layer->out_features(), rank, lora.lokr_factor, lora.lokr_decompose_both);
    const bool is_whole = lora.kind == AdapterKind::kLokr && sizes.w1.rank + sizes.w2.rank == 0;
    const double alpha = (is_whole ? 1 : scales.of(name, rank)) * static_cast<double>(rank);
    if (alpha != facts.alpha) facts.own_alphas[name] = alpha;
  }
}

}  // namespace

PeftFacts peft_facts(const LlamaRunConfig& config, const llama::LlamaConfig& sizes) {
  const LoraConfig& lora = *config.lora();
  PeftFacts facts;
  facts.rank = lora.rank;
  facts.alpha = lora.alpha.value_or(static_cast<double>(lora.rank));
  facts.dropout = lora.dropout;
  facts.alpha_is_rank = !lora.alpha.has_value();
  facts.rank_stabilised = lora.rank_stabilised;
  facts.kind = lora.kind;
  const std::string& base = config.checkpoint.initial_load_path;
  const std::string repository = repository_of(base);
  facts.base_model = repository.empty() ? base : repository;
  const llama::Llama model(sizes, {.device = torch::kMeta});
  const LayerNumbers ranks(lora.rank_patterns, "lora.rank_patterns");
  const LayerNumbers alphas(lora.alpha_patterns, "lora.alpha_patterns");
  for (const auto& [name, layer] : model.linear_layers()) {
    facts.layers.push_back(name);
    const auto rank = static_cast<int64_t>(ranks.of(name, static_cast<double>(lora.rank)));
    if (rank != lora.rank && rank > 0) facts.own_ranks[name] = rank;
    constexpr double kUsual = -1;
    if (const double own = alphas.of(name, kUsual); own != kUsual) facts.own_alphas[name] = own;
  }
  if (lora.kind == AdapterKind::kLoha || lora.kind == AdapterKind::kLokr) set_lycoris_alphas(lora, model, facts);
  return facts;
}

}  // namespace millrace
