// Sizes of CLIP's text encoder. Names are those of Hugging Face's CLIPTextConfig.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "models/weights.h"

namespace millrace::clip {

struct ClipConfig {
  int64_t vocab_size = 49408;
  int64_t hidden_size = 768;
  int64_t intermediate_size = 3072;
  int64_t num_hidden_layers = 12;
  int64_t num_attention_heads = 12;
  int64_t max_position_embeddings = 77;
  std::string hidden_act = "quick_gelu";  // or "gelu"
  double layer_norm_eps = 1e-5;
  // The token at which `pooled` is taken: the first one equal to eos_token_id; 2 selects the rule of OpenAI's own
  // files, the token with the highest id.
  int64_t eos_token_id = 2;
};

// Throws ModelError unless the sizes fit together. place names the source in the message.
void check(const ClipConfig& config, const std::string& place);

// From config.json of a CLIPTextModel, or of a CLIPModel (its text_config). Absent keys have Hugging Face's defaults.
ClipConfig config_from_json(const nlohmann::json& json, const std::string& place);
nlohmann::ordered_json to_hugging_face_json(const ClipConfig& config);  // as a CLIPTextModel's

// From the tensors of a file. Assumes heads 64 wide, as in every published CLIP; throws ModelError if that is
// impossible, or if the tensors are not a CLIP's.
ClipConfig config_from_shapes(const ShapeMap& theirs, const std::string& place);

}  // namespace millrace::clip
