#include "models/t5/weight_names.h"

#include "models/t5/model.h"

namespace millrace::t5 {
namespace {

const std::string kShared = "shared.weight";
const std::string kAlias = "encoder.embed_tokens.weight";

}  // namespace

std::string embedding_name_in(const ShapeMap& theirs) {
  return !theirs.count(kShared) && theirs.count(kAlias) ? kAlias : kShared;
}

WeightRules weight_rules(const T5Config& config, const ShapeMap& theirs) {
  WeightRules result = identity_rules(shapes_of(T5Encoder(config, torch::TensorOptions(torch::kMeta))));
  for (WeightRule& rule : result) {
    if (rule.ours == kShared) rule.theirs = embedding_name_in(theirs);
  }
  return result;
}

const IgnorableNames& ignorable_names() {
  static const IgnorableNames names = {"decoder.", "lm_head.", kAlias};
  return names;
}

}  // namespace millrace::t5
