#include "models/llama/weight_names.h"

#include "models/config_reader.h"
#include "models/llama/model.h"

namespace millrace::llama {

WeightRules weight_rules(const LlamaConfig& config) {
  const Llama model(config, FlatParametersOptions{.device = torch::kMeta});
  return identity_rules(shapes_of(model));
}

const IgnorableNames& ignorable_names() {
  static const IgnorableNames names = [] {
    IgnorableNames result = {"lm_head.weight", "model.rotary_emb.inv_freq"};
    for (int64_t i = 0; i < kMaxLayers; ++i) {
      result.push_back("model.layers." + std::to_string(i) + ".self_attn.rotary_emb.inv_freq");
    }
    return result;
  }();
  return names;
}

}  // namespace millrace::llama
