#include "models/clip/entry.h"

#include <nlohmann/json.hpp>

#include "models/clip/model.h"
#include "models/clip/weight_names.h"

namespace millrace::clip {
namespace {

class Description : public ModelDescription {
 public:
  explicit Description(ClipConfig config) : config_(std::move(config)) {}

  std::shared_ptr<torch::nn::Module> build(const FlatParametersOptions& placement) const override {
    return std::make_shared<Clip>(config_, placement);
  }
  WeightRules weight_rules(Naming, const ShapeMap& theirs) const override {
    return clip::weight_rules(config_, theirs);
  }
  std::vector<ForwardPass> passes() const override {
    return {autograd_pass(
        "clip", {{"input_ids", InputSpec::Kind::kTokens, {"B", "L"}}}, {"pooled", "last_hidden_state"},
        [](torch::nn::Module& module, const TensorMap& inputs) {
          const ClipOutput output = dynamic_cast<Clip&>(module).forward(inputs.at("input_ids"));
          return TensorMap{{"pooled", output.pooled_BD}, {"last_hidden_state", output.last_hidden_state_BLD}};
        })};
  }
  std::optional<std::string> config_json(Naming) const override { return to_hugging_face_json(config_).dump(2) + "\n"; }

 private:
  ClipConfig config_;
};

}  // namespace

ModelEntry entry() {
  return {"clip",
          {"clip"},
          {Naming::kHuggingFace},
          ignorable_names(),
          "",
          [](const ShapeMap&, const std::string&) { return Naming::kHuggingFace; },
          [](const nlohmann::json& json, const std::string& place) -> std::unique_ptr<ModelDescription> {
            return std::make_unique<Description>(config_from_json(json, place));
          },
          [](const ShapeMap& theirs, Naming, const std::string& place) -> std::unique_ptr<ModelDescription> {
            return std::make_unique<Description>(config_from_shapes(theirs, place));
          }};
}

}  // namespace millrace::clip
