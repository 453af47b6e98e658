#include "tasks/gguf_model.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/gguf_export.h"
#include "formats/json.h"
#include "language/model_tokenizer.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct TokenizerFiles {
  nlohmann::json tokenizer, config;
  std::string chat_template;
};

// Where tokenizer_config.json does not name the first and the last token, another file may have their ids.
void add_special_tokens(TokenizerFiles& files, const nlohmann::json& others) {
  if (!others.is_object()) return;
  if (!files.config.is_object()) files.config = nlohmann::json::object();
  for (const auto& [name, key] : {std::pair{"bos_token", "bos_token_id"}, {"eos_token", "eos_token_id"}}) {
    nlohmann::json id = others.value(key, nlohmann::json());
    if (id.is_array() && !id.empty()) id = nlohmann::json(id[0]);  // several end a text: the first is the model's own
    if (files.config.contains(name) || !id.is_number_integer()) continue;
    for (const nlohmann::json& token : files.tokenizer.value("added_tokens", nlohmann::json::array())) {
      if (token.value("id", nlohmann::json()) == id) files.config[name] = token.value("content", nlohmann::json());
    }
  }
}

TokenizerFiles tokenizer_files(const fs::path& path) {
  if (path.empty()) throw ConfigError("[export] expected a model with a tokenizer for a GGUF file, got one without");
  if (std::optional<GgufTokenizer> carried = carried_tokenizer(path)) return {carried->tokenizer, carried->config, ""};
  const fs::path folder = fs::is_directory(path) ? path : path.parent_path();
  if (!fs::is_regular_file(folder / "tokenizer.json")) {
    throw ConfigError(str("[", folder.string(), "] expected a tokenizer.json for a GGUF file, got none"));
  }
  constexpr uint64_t kMaxTemplateBytes = uint64_t{1} << 20;
  TokenizerFiles files{read_vocabulary_json(folder / "tokenizer.json"), nullptr, ""};
  if (fs::exists(folder / "tokenizer_config.json")) {
    files.config = read_vocabulary_json(folder / "tokenizer_config.json");
  }
  if (fs::exists(folder / "chat_template.jinja")) {
    files.chat_template = read_file(folder / "chat_template.jinja", kMaxTemplateBytes);
  }
  for (const char* name : {"config.json", "generation_config.json"}) {
    if (fs::is_regular_file(folder / name)) add_special_tokens(files, read_vocabulary_json(folder / name));
  }
  return files;
}

// The rows of each head with its halves' rows in turn, as llama.cpp's converter puts them. heads: of this matrix.
torch::Tensor interleaved(const torch::Tensor& weight_NK, int64_t heads) {
  const int64_t half = weight_NK.size(0) / heads / 2;
  return weight_NK.view({heads, 2, half, weight_NK.size(1)}).transpose(1, 2).reshape(weight_NK.sizes());
}

}  // namespace

std::string write_gguf_model(const fs::path& output, const TensorMap& theirs, const TensorSource& read,
                             const GgufModelFacts& facts) {
  const auto config = parse_json<ModelError>(facts.config_json, "the model's config.json");
  TokenizerFiles tokenizer = tokenizer_files(facts.tokenizer);
  add_special_tokens(tokenizer, config);
  GgufKeys keys;
  add_gguf_sizes(keys, config, output.stem().string(), facts.storage);
  add_gguf_tokenizer(keys, tokenizer.tokenizer, tokenizer.config, tokenizer.chat_template, config.at("vocab_size"));

  std::vector<GgufTensor> tensors;
  std::vector<std::string> names;  // theirs; "": the rotary factors
  std::vector<float> factors;
  if (const auto found = gguf_rope_factors(config)) {
    factors = *found;
    tensors.push_back({"rope_freqs.weight", {static_cast<int64_t>(factors.size())}, GgufStorage::kF32});
    names.emplace_back();
  }
  constexpr int64_t kBlock = 32;
  for (const auto& [name, tensor] : theirs) {
    const bool is_matrix = tensor.dim() > 1;
    const bool has_blocks = is_matrix && tensor.size(-1) % kBlock == 0;
    const bool is_narrow = facts.storage == GgufStorage::kQ8_0 && !has_blocks;
    tensors.push_back({gguf_name(name), tensor.sizes().vec(),
                       !is_matrix  ? GgufStorage::kF32
                       : is_narrow ? GgufStorage::kF16
                                   : facts.storage});
    names.push_back(name);
  }
  const int64_t heads = config.at("num_attention_heads");
  const int64_t kv_heads = config.value("num_key_value_heads", heads);
  torch::Tensor values;
  write_gguf(output, keys, tensors, [&](size_t i) -> std::span<const float> {
    if (names[i].empty()) return factors;
    values = read(names[i]).to(torch::kCPU, torch::kFloat32);
    if (ends_with(names[i], "q_proj.weight")) values = interleaved(values, heads);
    if (ends_with(names[i], "k_proj.weight")) values = interleaved(values, kv_heads);
    values = values.contiguous();
    return {values.const_data_ptr<float>(), static_cast<size_t>(values.numel())};
  });
  return str(output.string(), ": ", tensors.size(), " tensors in GGUF");
}

}  // namespace millrace
