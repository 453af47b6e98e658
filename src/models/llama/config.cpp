#include "models/llama/config.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "models/config_reader.h"

namespace millrace::llama {
namespace {

// What transformers' classes take for absent keys.
struct Family {
  int64_t vocab_size, intermediate_size, num_key_value_heads, max_position_embeddings;
  const char* architecture;
};
const std::map<std::string, Family>& families() {
  static const std::map<std::string, Family> table = {
      {"llama", {32000, 11008, 0, 2048, "LlamaForCausalLM"}},
      {"mistral", {32000, 14336, 8, 131072, "MistralForCausalLM"}},
      {"qwen2", {151936, 22016, 32, 32768, "Qwen2ForCausalLM"}},
      {"qwen3", {151936, 22016, 32, 32768, "Qwen3ForCausalLM"}},
  };
  return table;
}

[[noreturn]] void fail_model_type(const ConfigReader& reader, const std::string& model_type) {
  std::vector<std::string> known;
  for (const auto& [name, family] : families()) known.push_back(name);
  const bool is_mixture = model_type.find("moe") != std::string::npos || model_type == "mixtral" ||
                          starts_with(model_type, "llama4") || starts_with(model_type, "deepseek_v") ||
                          model_type == "gpt_oss" || model_type == "qwen3_next";
  throw ModelError("[" + reader.place() + ": model_type] expected one of " + join(known, ", ") + ", got " + model_type +
                   (is_mixture ? ", a mixture of experts, which this program does not have (try a dense model, such as "
                                 "Llama 3.3, Mistral, Qwen2.5 or Qwen3-8B)"
                               : ""));
}

// Keys whose other values ask for a network that this one is not.
void check_supported(const ConfigReader& reader) {
  if (reader.text("hidden_act", "silu") != "silu") reader.fail("hidden_act", "silu");
  for (const char* key : {"num_local_experts", "num_experts", "n_routed_experts"}) {
    if (reader.integer(key, 0) > 0) reader.fail(key, "no mixture of experts");
  }
  for (const char* key : {"partial_rotary_factor", "attention_multiplier", "residual_multiplier"}) {
    if (reader.number(key, 1) != 1) reader.fail(key, "1");
  }
  // Numbers that change a training run of transformers, which has no counterpart here.
  if (reader.number("attention_dropout", 0) != 0) reader.fail("attention_dropout", "0");
}

RopeConfig read_rope(const ConfigReader& reader) {
  RopeConfig rope;
  rope.theta = reader.positive("rope_theta", rope.theta);
  const std::string key = reader.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  if (!reader.has(key)) return rope;
  const ConfigReader scaling = reader.nested(key);
  if (scaling.place() == reader.place()) reader.fail(key, "an object");
  rope.theta = scaling.positive("rope_theta", rope.theta);
  if (scaling.number("partial_rotary_factor", 1) != 1) scaling.fail("partial_rotary_factor", "1");
  const std::string kind = scaling.text("rope_type", scaling.text("type", "default"));
  if (kind == "default") return rope;
  if (kind != "linear" && kind != "llama3") scaling.fail("rope_type", "default, linear or llama3");
  rope.kind = kind == "linear" ? RopeKind::kLinear : RopeKind::kLlama3;
  if (!scaling.has("factor")) scaling.fail("factor", "a number above 0");
  rope.factor = scaling.positive("factor", 1);
  if (rope.kind == RopeKind::kLinear) return rope;
  for (const char* needed : {"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    if (!scaling.has(needed)) scaling.fail(needed, "a number above 0");
  }
  rope.low_freq_factor = scaling.positive("low_freq_factor", 1);
  rope.high_freq_factor = scaling.positive("high_freq_factor", 4);
  rope.original_max_position_embeddings = scaling.positive("original_max_position_embeddings", 8192);
  if (rope.high_freq_factor <= rope.low_freq_factor) scaling.fail("high_freq_factor", "more than low_freq_factor");
  return rope;
}

// Mistral has its window in all layers; Qwen where layer_types says so, in older files in the layers from
// max_window_layers on.
std::vector<int64_t> read_windows(const ConfigReader& reader, const nlohmann::json& json, const LlamaConfig& config) {
  std::vector<int64_t> windows(static_cast<size_t>(config.num_hidden_layers), 0);
  if (config.model_type == "llama") return windows;
  if (config.model_type == "mistral") {
    const bool is_null = json.contains("sliding_window") && json.at("sliding_window").is_null();
    const int64_t window = is_null ? 0 : reader.size("sliding_window", 4096);
    std::fill(windows.begin(), windows.end(), window);
    return windows;
  }
  if (!reader.boolean("use_sliding_window", false)) return windows;
  const int64_t window = reader.size("sliding_window", 4096);
  if (reader.has("layer_types")) {
    const nlohmann::json& kinds = json.at("layer_types");
    if (!kinds.is_array() || kinds.size() != windows.size()) reader.fail("layer_types", "one name per layer");
    for (size_t i = 0; i < windows.size(); ++i) {
      const bool slides = kinds[i] == "sliding_attention";
      if (!slides && kinds[i] != "full_attention") reader.fail("layer_types", "sliding_attention or full_attention");
      if (slides) windows[i] = window;
    }
    return windows;
  }
  const int64_t first = reader.integer("max_window_layers", 28);
  for (int64_t i = std::max<int64_t>(0, first); i < config.num_hidden_layers; ++i)
    windows[static_cast<size_t>(i)] = window;
  return windows;
}

}  // namespace

void check(const LlamaConfig& config, const std::string& place) {
  const auto fail = [&](const std::string& key, const std::string& expected, int64_t got) {
    throw ModelError("[" + place + ": " + key + "] expected " + expected + ", got " + std::to_string(got));
  };
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    fail("num_key_value_heads", "a divisor of num_attention_heads, " + std::to_string(config.num_attention_heads),
         config.num_key_value_heads);
  }
  if (config.head_dim % 2 != 0) fail("head_dim", "an even number", config.head_dim);
  if (config.num_attention_heads * config.head_dim > kMaxSize) {
    fail("num_attention_heads", "num_attention_heads * head_dim up to " + std::to_string(kMaxSize),
         config.num_attention_heads * config.head_dim);
  }
}

LlamaConfig config_from_json(const nlohmann::json& json, const std::string& place) {
  const ConfigReader reader(place, json);
  LlamaConfig config;
  config.model_type = reader.text("model_type", "llama");
  const auto found = families().find(config.model_type);
  if (found == families().end()) fail_model_type(reader, config.model_type);
  const Family& family = found->second;
  check_supported(reader);
  config.vocab_size = reader.size("vocab_size", family.vocab_size);
  config.hidden_size = reader.size("hidden_size", 4096);
  config.intermediate_size = reader.size("intermediate_size", family.intermediate_size);
  config.num_hidden_layers = reader.layers("num_hidden_layers", 32);
  config.num_attention_heads = reader.size("num_attention_heads", 32);
  const int64_t key_value_heads =
      family.num_key_value_heads == 0 ? config.num_attention_heads : family.num_key_value_heads;
  config.num_key_value_heads = reader.size("num_key_value_heads", key_value_heads);
  if (!reader.has("head_dim") && config.model_type != "qwen3" && config.hidden_size % config.num_attention_heads != 0) {
    reader.fail("num_attention_heads", "a divisor of hidden_size, or head_dim");
  }
  config.head_dim =
      reader.size("head_dim", config.model_type == "qwen3" ? 128 : config.hidden_size / config.num_attention_heads);
  config.max_position_embeddings = reader.size("max_position_embeddings", family.max_position_embeddings);
  config.rms_norm_eps = reader.positive("rms_norm_eps", 1e-6);
  config.tie_word_embeddings = reader.boolean("tie_word_embeddings", false);
  // Qwen2's biases are in the class, the others' in the file.
  const bool attention_bias = config.model_type != "mistral" && reader.boolean("attention_bias", false);
  config.qkv_bias = config.model_type == "qwen2" || attention_bias;
  config.output_bias = config.model_type != "qwen2" && attention_bias;
  config.mlp_bias = config.model_type == "llama" && reader.boolean("mlp_bias", false);
  config.qk_norm = config.model_type == "qwen3";
  config.rope = read_rope(reader);
  config.windows = read_windows(reader, json, config);
  check(config, place);
  return config;
}

nlohmann::ordered_json to_hugging_face_json(const LlamaConfig& config) {
  nlohmann::ordered_json json = {
      {"architectures", {families().at(config.model_type).architecture}},
      {"head_dim", config.head_dim},
      {"hidden_act", "silu"},
      {"hidden_size", config.hidden_size},
      {"intermediate_size", config.intermediate_size},
      {"max_position_embeddings", config.max_position_embeddings},
      {"model_type", config.model_type},
      {"num_attention_heads", config.num_attention_heads},
      {"num_hidden_layers", config.num_hidden_layers},
      {"num_key_value_heads", config.num_key_value_heads},
      {"rms_norm_eps", config.rms_norm_eps},
      {"rope_theta", config.rope.theta},
      {"tie_word_embeddings", config.tie_word_embeddings},
      {"vocab_size", config.vocab_size},
  };
  if (config.model_type == "llama" || config.model_type == "qwen3") json["attention_bias"] = config.output_bias;
  if (config.model_type == "llama") json["mlp_bias"] = config.mlp_bias;
  switch (config.rope.kind) {
    case RopeKind::kPlain:
      json["rope_scaling"] = nullptr;
      break;
    case RopeKind::kLinear:
      json["rope_scaling"] = {{"rope_type", "linear"}, {"factor", config.rope.factor}};
      break;
    case RopeKind::kLlama3:
      json["rope_scaling"] = {
          {"rope_type", "llama3"},
          {"factor", config.rope.factor},
          {"low_freq_factor", config.rope.low_freq_factor},
          {"high_freq_factor", config.rope.high_freq_factor},
          {"original_max_position_embeddings", static_cast<int64_t>(config.rope.original_max_position_embeddings)}};
      break;
  }
  const auto widest = std::max_element(config.windows.begin(), config.windows.end());
  const int64_t window = widest == config.windows.end() ? 0 : *widest;
  if (config.model_type != "llama")
    json["sliding_window"] = window == 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(window);
  if (config.model_type == "qwen2" || config.model_type == "qwen3") {
    json["use_sliding_window"] = window > 0;
    json["layer_types"] = nlohmann::ordered_json::array();
    for (const int64_t own : config.windows)
      json["layer_types"].push_back(own > 0 ? "sliding_attention" : "full_attention");
  }
  return json;
}

}  // namespace millrace::llama
