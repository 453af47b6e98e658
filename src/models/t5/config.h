// Sizes of a T5 encoder. Names are those of Hugging Face's T5Config.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "models/weights.h"

namespace millrace::t5 {

struct T5Config {
  int64_t vocab_size = 32128;
  int64_t d_model = 4096;
  int64_t d_kv = 64;  // width of a head; num_heads * d_kv need not be d_model
  int64_t d_ff = 10240;
  int64_t num_layers = 24;
  int64_t num_heads = 64;
  int64_t relative_attention_num_buckets = 32;
  int64_t relative_attention_max_distance = 128;  // tokens; further apart share the last bucket
  double layer_norm_epsilon = 1e-6;
  // "gated-gelu" (T5 v1.1, with the tanh approximation), "relu" (T5 v1.0), and "gated-silu", "gelu", "silu".
  std::string feed_forward_proj = "gated-gelu";

  bool is_gated() const;
};

// Throws ModelError unless the sizes fit together. place names the source in the message.
void check(const T5Config& config, const std::string& place);

// From config.json of a T5EncoderModel or of a whole T5. Absent keys have Hugging Face's defaults.
T5Config config_from_json(const nlohmann::json& json, const std::string& place);
nlohmann::ordered_json to_hugging_face_json(const T5Config& config);  // as a T5EncoderModel's

// From the tensors of a file; throws ModelError if they are not a T5's. A gated file is taken to be v1.1, any other
// v1.0, and the maximum distance to be the published 128.
T5Config config_from_shapes(const ShapeMap& theirs, const std::string& place);

}  // namespace millrace::t5
