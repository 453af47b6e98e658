#include "formats/gguf_names.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/gguf_llama.h"
#include "formats/quote.h"

namespace millrace {
namespace {

constexpr const char* kRopeFactors = "rope_freqs.weight";

bool is_llama(const GgufContent& content) {
  return content.metadata.string("general.architecture") == "llama";
}

int64_t required(const GgufMetadata& metadata, const std::string& key, const std::string& place) {
  const auto value = metadata.integer(key);
  if (!value || *value < 1)
    throw ModelError(str("[", place, "] expected the key ", key, ", a positive number, got none"));
  return *value;
}

int64_t num_heads(const GgufContent& content, const std::string& place) {
  return required(content.metadata, "llama.attention.head_count", place);
}
int64_t num_kv_heads(const GgufContent& content, const std::string& place) {
  return content.metadata.integer("llama.attention.head_count_kv").value_or(num_heads(content, place));
}

// "blk.3.attn_q.weight" -> "model.layers.3.self_attn.q_proj.weight"; "" where there is none.
std::string hugging_face_name(const std::string& name) {
  const auto find = [](const auto& names, const std::string& wanted) {
    const auto found =
        std::find_if(names.begin(), names.end(), [&](const GgufName& each) { return wanted == each.gguf; });
    return found == names.end() ? "" : found->hugging_face;
  };
  if (const std::string outer = find(kGgufOuterNames, name); !outer.empty()) return outer;
  const std::vector<std::string> parts = split(name, '.');
  if (parts.size() != 4 || parts[0] != "blk" || parts[3] != "weight") return "";
  const std::string layer = find(kGgufLayerNames, parts[2]);
  return layer.empty() ? "" : "model.layers." + parts[1] + "." + layer + ".weight";
}

const TensorView* find(const GgufContent& content, std::string_view name) {
  const auto found = std::find_if(content.tensors.begin(), content.tensors.end(),
                                  [&](const TensorView& tensor) { return tensor.name == name; });
  return found == content.tensors.end() ? nullptr : &*found;
}

// Llama 3.1's scaling of long wavelengths, of which GGUF keeps the quotients only. The largest is the factor; all must
// be those of the other published numbers.
nlohmann::json rope_scaling(const TensorView& factors, int64_t head_dim, double theta, const std::string& place) {
  const auto count = static_cast<size_t>(head_dim / 2);
  if (factors.dtype != DType::kF32 || factors.block_format != BlockFormat::kNone ||
      factors.bytes.size() != count * sizeof(float)) {
    throw ModelError(str("[", place, ", tensor ", kRopeFactors, "] expected F32 [", count, "], got ",
                         tensor_text(factors.dtype, factors.shape)));
  }
  std::vector<float> given(count);
  std::memcpy(given.data(), factors.bytes.data(), factors.bytes.size());
  GgufRopeScaling scaling;
  scaling.factor = *std::max_element(given.begin(), given.end());
  const std::vector<double> quotients = gguf_rope_quotients(scaling, theta, head_dim);
  for (size_t i = 0; i < count; ++i) {
    const double expected = quotients[i];
    if (!(std::abs(given[i] - expected) <= 1e-4 * expected)) {
      throw ModelError(str("[", place, ", tensor ", kRopeFactors, "] expected the frequency factors of Llama 3.1, got ",
                           given[i], " instead of ", expected, " at ", i));
    }
  }
  return {{"rope_type", "llama3"},
          {"factor", scaling.factor},
          {"low_freq_factor", scaling.low_freq_factor},
          {"high_freq_factor", scaling.high_freq_factor},
          {"original_max_position_embeddings", static_cast<int64_t>(scaling.positions)}};
}

// Which tokens begin and end a text, and which end a turn: config.json lists all that end an answer, its own end first.
void add_special_ids(const GgufMetadata& metadata, int64_t vocab_size, nlohmann::ordered_json& config) {
  const auto id_of = [&](const char* key) {
    const std::optional<int64_t> id = metadata.integer(str("tokenizer.ggml.", key, "_token_id"));
    return id && *id >= 0 && *id < vocab_size ? id : std::nullopt;
  };
  if (const auto bos = id_of("bos")) config["bos_token_id"] = *bos;
  std::vector<int64_t> ends;
  for (const char* key : {"eos", "eot", "eom"}) {
    const auto id = id_of(key);
    if (id && std::find(ends.begin(), ends.end(), *id) == ends.end()) ends.push_back(*id);
  }
  if (ends.size() == 1) config["eos_token_id"] = ends.front();
  if (ends.size() > 1) config["eos_token_id"] = ends;
  if (const auto pad = id_of("padding")) config["pad_token_id"] = *pad;
}

}  // namespace

void rename_gguf_tensors(GgufContent& content, const std::string& place) {
  const int64_t parts = content.metadata.integer("split.count").value_or(1);
  if (parts > 1) {
    throw ModelError(
        str("[", place, "] expected a whole model, got one of ", parts, " parts (try `llama-gguf-split --merge`)"));
  }
  if (!is_llama(content)) return;
  std::erase_if(content.tensors, [](const TensorView& tensor) { return tensor.name == kRopeFactors; });
  for (TensorView& tensor : content.tensors) {
    const std::string name = hugging_face_name(tensor.name);
    if (name.empty()) {
      throw ModelError(str("[", place, ", tensor ", in_quotes(tensor.name),
                           "] expected a tensor of a dense Llama, got ", "another name"));
    }
    const bool is_query = ends_with(name, "q_proj.weight"), is_key = ends_with(name, "k_proj.weight");
    if (is_query || is_key) {
      const int64_t heads = is_query ? num_heads(content, place) : num_kv_heads(content, place);
      if (tensor.shape.size() != 2 || heads < 1 || tensor.shape[0] % heads != 0 || tensor.shape[0] / heads % 2 != 0) {
        throw ModelError(str("[", place, ", tensor ", in_quotes(tensor.name), "] expected rows for ", heads,
                             " heads of even size, got ", shape_text(tensor.shape)));
      }
      tensor.interleaved_heads = heads;
    }
    tensor.name = name;
  }
}

std::optional<std::string> gguf_config_json(const GgufContent& content, const std::string& place) {
  if (!is_llama(content)) return std::nullopt;
  const GgufMetadata& metadata = content.metadata;
  const TensorView* embedding = find(content, "token_embd.weight");
  if (!embedding || embedding->shape.size() != 2) {
    throw ModelError(
        str("[", place, "] expected a matrix token_embd.weight, got ", embedding ? "another shape" : "none"));
  }
  const int64_t hidden_size = required(metadata, "llama.embedding_length", place), heads = num_heads(content, place);
  const int64_t head_dim = metadata.integer("llama.attention.key_length").value_or(hidden_size / heads);
  const double theta = metadata.number("llama.rope.freq_base").value_or(10000.0);
  const double eps = metadata.number("llama.attention.layer_norm_rms_epsilon").value_or(0.0);
  if (eps <= 0)
    throw ModelError(str("[", place, "] expected the key llama.attention.layer_norm_rms_epsilon, got none"));
  nlohmann::ordered_json config = {
      {"architectures", {"LlamaForCausalLM"}},
      {"model_type", "llama"},
      {"hidden_size", hidden_size},
      {"intermediate_size", required(metadata, "llama.feed_forward_length", place)},
      {"num_hidden_layers", required(metadata, "llama.block_count", place)},
      {"num_attention_heads", heads},
      {"num_key_value_heads", num_kv_heads(content, place)},
      {"head_dim", head_dim},
      {"vocab_size", embedding->shape[0]},
      {"max_position_embeddings", required(metadata, "llama.context_length", place)},
      {"rms_norm_eps", eps},
      {"rope_theta", theta},
      {"tie_word_embeddings", find(content, "output.weight") == nullptr},
  };
  add_special_ids(metadata, embedding->shape[0], config);
  if (const TensorView* factors = find(content, kRopeFactors)) {
    config["rope_scaling"] = rope_scaling(*factors, head_dim, theta, place);
  } else if (const auto type = metadata.string("llama.rope.scaling.type"); type && *type != "none") {
    throw ModelError(str("[", place, "] expected rotary positions without scaling or as Llama 3.1 has them, got ",
                         in_quotes(*type)));
  }
  return config.dump(2) + "\n";
}

}  // namespace millrace
