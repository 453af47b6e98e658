#include "models/t5/config.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/text.h"
#include "models/config_reader.h"
#include "models/shape_queries.h"
#include "models/t5/weight_names.h"

namespace millrace::t5 {

bool T5Config::is_gated() const {
  return starts_with(feed_forward_proj, "gated-");
}

void check(const T5Config& config, const std::string& place) {
  const std::vector<std::string> known = {"gated-gelu", "gated-silu", "relu", "gelu", "silu"};
  if (std::find(known.begin(), known.end(), config.feed_forward_proj) == known.end()) {
    throw ModelError("[" + place + ": feed_forward_proj] expected one of " + join(known, ", ") + ", got " +
                     config.feed_forward_proj);
  }
  if (config.num_heads * config.d_kv > kMaxSize) {
    throw ModelError("[" + place + ": num_heads] expected num_heads * d_kv up to " + std::to_string(kMaxSize) +
                     ", got " + std::to_string(config.num_heads) + " * " + std::to_string(config.d_kv));
  }
  // Half the buckets are for either direction, and half of those for exact distances.
  if (config.relative_attention_num_buckets < 4) {
    throw ModelError("[" + place + ": relative_attention_num_buckets] expected 4 or more, got " +
                     std::to_string(config.relative_attention_num_buckets));
  }
  if (config.relative_attention_max_distance <= config.relative_attention_num_buckets / 4) {
    throw ModelError("[" + place +
                     ": relative_attention_max_distance] expected more than a quarter of the buckets, got " +
                     std::to_string(config.relative_attention_max_distance));
  }
}

T5Config config_from_json(const nlohmann::json& json, const std::string& place) {
  const ConfigReader reader(place, json);
  T5Config config;
  config.vocab_size = reader.size("vocab_size", 32128);
  config.d_model = reader.size("d_model", 512);
  config.d_kv = reader.size("d_kv", 64);
  config.d_ff = reader.size("d_ff", 2048);
  config.num_layers = reader.layers("num_layers", 6);
  config.num_heads = reader.size("num_heads", 8);
  config.relative_attention_num_buckets = reader.size("relative_attention_num_buckets", 32);
  config.relative_attention_max_distance = reader.size("relative_attention_max_distance", 128);
  config.layer_norm_epsilon = reader.positive("layer_norm_epsilon", 1e-6);
  config.feed_forward_proj = reader.text("feed_forward_proj", "relu");
  check(config, place);
  return config;
}

T5Config config_from_shapes(const ShapeMap& theirs, const std::string& place) {
  const ShapeQueries shapes("T5", theirs, place);
  const std::string attention = "encoder.block.0.layer.0.SelfAttention.";
  const std::string feed_forward = "encoder.block.0.layer.1.DenseReluDense.";
  T5Config config;
  config.vocab_size = shapes.size(embedding_name_in(theirs), 0);
  config.d_model = shapes.size(embedding_name_in(theirs), 1);
  config.num_layers = shapes.count("encoder.block.");
  config.relative_attention_num_buckets = shapes.size(attention + "relative_attention_bias.weight", 0);
  config.num_heads = shapes.size(attention + "relative_attention_bias.weight", 1);
  config.d_kv = std::max<int64_t>(1, shapes.size(attention + "q.weight", 0) / config.num_heads);
  config.d_ff = shapes.size(feed_forward + "wo.weight", 1);
  config.feed_forward_proj = shapes.has(feed_forward + "wi_0.weight") ? "gated-gelu" : "relu";
  check(config, place);
  return config;
}

nlohmann::ordered_json to_hugging_face_json(const T5Config& config) {
  return {{"architectures", {"T5EncoderModel"}},
          {"d_ff", config.d_ff},
          {"d_kv", config.d_kv},
          {"d_model", config.d_model},
          {"dropout_rate", 0.1},
          {"feed_forward_proj", config.feed_forward_proj},
          {"is_encoder_decoder", false},
          {"layer_norm_epsilon", config.layer_norm_epsilon},
          {"model_type", "t5"},
          {"num_heads", config.num_heads},
          {"num_layers", config.num_layers},
          {"relative_attention_max_distance", config.relative_attention_max_distance},
          {"relative_attention_num_buckets", config.relative_attention_num_buckets},
          {"tie_word_embeddings", false},
          {"use_cache", false},
          {"vocab_size", config.vocab_size}};
}

}  // namespace millrace::t5
