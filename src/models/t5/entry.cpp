#include "models/t5/entry.h"

#include <nlohmann/json.hpp>

#include "models/t5/model.h"
#include "models/t5/weight_names.h"

namespace millrace::t5 {
namespace {

class Description : public ModelDescription {
 public:
  explicit Description(T5Config config) : config_(std::move(config)) {}

  std::shared_ptr<torch::nn::Module> build(const FlatParametersOptions& placement) const override {
    return std::make_shared<T5Encoder>(config_, placement);
  }
  WeightRules weight_rules(Naming, const ShapeMap& theirs) const override { return t5::weight_rules(config_, theirs); }
  std::vector<ForwardPass> passes() const override {
    return {autograd_pass("t5", {{"input_ids", InputSpec::Kind::kTokens, {"B", "L"}}}, {"last_hidden_state"},
                          [](torch::nn::Module& module, const TensorMap& inputs) {
                            const torch::Tensor output =
                                dynamic_cast<T5Encoder&>(module).forward(inputs.at("input_ids"));
                            return TensorMap{{"last_hidden_state", output}};
                          })};
  }
  std::optional<std::string> config_json(Naming) const override { return to_hugging_face_json(config_).dump(2) + "\n"; }

 private:
  T5Config config_;
};

}  // namespace

ModelEntry entry() {
  return {"t5",
          {"t5"},
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

}  // namespace millrace::t5
