#include "models/clip/weight_names.h"

#include "models/clip/model.h"

namespace millrace::clip {
namespace {

const std::string kPrefix = "text_model.";

}  // namespace

std::string prefix_in(const ShapeMap& theirs) {
  const bool bare = theirs.count("embeddings.token_embedding.weight") != 0;
  return bare ? "" : kPrefix;
}

WeightRules weight_rules(const ClipConfig& config, const ShapeMap& theirs) {
  const std::string prefix = prefix_in(theirs);
  const Clip model(config, torch::TensorOptions(torch::kMeta));
  WeightRules result;
  for (const auto& [name, shape] : shapes_of(model)) result.push_back({name, prefix + name.substr(kPrefix.size())});
  return result;
}

const IgnorableNames& ignorable_names() {
  static const IgnorableNames names = {
      "vision_model.",          "visual_projection.", "text_projection.",
      "text_projection",        "logit_scale",        "text_model.embeddings.position_ids",
      "embeddings.position_ids"};
  return names;
}

}  // namespace millrace::clip
