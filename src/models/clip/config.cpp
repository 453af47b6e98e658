#include "models/clip/config.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "models/clip/weight_names.h"
#include "models/config_reader.h"
#include "models/shape_queries.h"

namespace millrace::clip {

void check(const ClipConfig& config, const std::string& place) {
  if (config.hidden_act != "quick_gelu" && config.hidden_act != "gelu") {
    throw ModelError("[" + place + ": hidden_act] expected quick_gelu or gelu, got " + config.hidden_act);
  }
  if (config.hidden_size % config.num_attention_heads != 0) {
    throw ModelError("[" + place + ": num_attention_heads] expected a divisor of hidden_size " +
                     std::to_string(config.hidden_size) + ", got " + std::to_string(config.num_attention_heads));
  }
}

ClipConfig config_from_json(const nlohmann::json& json, const std::string& place) {
  const ConfigReader reader = ConfigReader(place, json).nested("text_config");
  ClipConfig config;
  config.vocab_size = reader.size("vocab_size", 49408);
  config.hidden_size = reader.size("hidden_size", 512);
  config.intermediate_size = reader.size("intermediate_size", 2048);
  config.num_hidden_layers = reader.layers("num_hidden_layers", 12);
  config.num_attention_heads = reader.size("num_attention_heads", 8);
  config.max_position_embeddings = reader.size("max_position_embeddings", 77);
  config.hidden_act = reader.text("hidden_act", "quick_gelu");
  config.layer_norm_eps = reader.positive("layer_norm_eps", 1e-5);
  config.eos_token_id = reader.integer("eos_token_id", 49407);
  check(config, reader.place());
  return config;
}

ClipConfig config_from_shapes(const ShapeMap& theirs, const std::string& place) {
  const std::string prefix = prefix_in(theirs);
  const ShapeQueries shapes("CLIP", theirs, place);
  ClipConfig config;
  config.vocab_size = shapes.size(prefix + "embeddings.token_embedding.weight", 0);
  config.hidden_size = shapes.size(prefix + "embeddings.token_embedding.weight", 1);
  config.max_position_embeddings = shapes.size(prefix + "embeddings.position_embedding.weight", 0);
  config.intermediate_size = shapes.size(prefix + "encoder.layers.0.mlp.fc1.weight", 0);
  config.num_hidden_layers = shapes.count(prefix + "encoder.layers.");
  if (config.hidden_size % 64 != 0) {
    throw ModelError("[" + place + "] expected a hidden size that heads of 64 divide, got " +
                     std::to_string(config.hidden_size) + " (try --config with num_attention_heads)");
  }
  config.num_attention_heads = config.hidden_size / 64;
  return config;
}

nlohmann::ordered_json to_hugging_face_json(const ClipConfig& config) {
  return {{"architectures", {"CLIPTextModel"}},
          {"attention_dropout", 0.0},
          {"eos_token_id", config.eos_token_id},
          {"hidden_act", config.hidden_act},
          {"hidden_size", config.hidden_size},
          {"intermediate_size", config.intermediate_size},
          {"layer_norm_eps", config.layer_norm_eps},
          {"max_position_embeddings", config.max_position_embeddings},
          {"model_type", "clip_text_model"},
          {"num_attention_heads", config.num_attention_heads},
          {"num_hidden_layers", config.num_hidden_layers},
          {"vocab_size", config.vocab_size}};
}

}  // namespace millrace::clip
