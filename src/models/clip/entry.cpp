#include "models/clip/entry.h"

#include <nlohmann/json.hpp>

#include "adapters/read_adapters.h"
#include "models/adapted_model.h"
#include "models/clip/model.h"
#include "models/clip/weight_names.h"
#include "models/lora_text_adapters.h"

namespace millrace::clip {
namespace {

TensorMap as_map(const ClipOutput& output) {
  return {{"pooled", output.pooled_BD}, {"last_hidden_state", output.last_hidden_state_BLD}};
}

TensorMap run(torch::nn::Module& module, const TensorMap& inputs) {
  return as_map(dynamic_cast<Clip&>(module).forward(inputs.at("input_ids")));
}

// Of adapters, by the passes that train them.
PassResult run_adapted(Clip& clip, const TensorMap& inputs, const OutputGradient& grad_output) {
  Clip::Saved saved;
  const ClipOutput output = clip.forward(inputs.at("input_ids"), &saved);
  clip.backward(saved, grad_output(output.pooled_BD));
  return {.outputs = as_map(output), .parameter_gradients = {}, .input_gradients = {}};
}

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
    ForwardPass pass = autograd_pass("clip", {{"input_ids", InputSpec::Kind::kTokens, {"B", "L"}}},
                                     {"pooled", "last_hidden_state"}, run);
    pass.run_with_gradients = [of_weights = pass.run_with_gradients](torch::nn::Module& module, const TensorMap& inputs,
                                                                     const OutputGradient& gradient) {
      return is_adapted(module) ? run_adapted(dynamic_cast<Clip&>(module), inputs, gradient)
                                : of_weights(module, inputs, gradient);
    };
    return {pass};
  }
  std::vector<AdapterTensors> read_adapters(const std::filesystem::path& file) const override {
    return flux::text_encoder_adapters(millrace::read_adapters(WeightStore(file)), flux::LoraPart::kClip,
                                       file.string());
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
