#include "models/t5/entry.h"

#include <nlohmann/json.hpp>

#include "adapters/read_adapters.h"
#include "models/adapted_model.h"
#include "models/lora_text_adapters.h"
#include "models/t5/model.h"
#include "models/t5/weight_names.h"

namespace millrace::t5 {
namespace {

TensorMap run(torch::nn::Module& module, const TensorMap& inputs) {
  return {{"last_hidden_state", dynamic_cast<T5Encoder&>(module).forward(inputs.at("input_ids"))}};
}

// Of adapters, by the passes that train them.
PassResult run_adapted(T5Encoder& encoder, const TensorMap& inputs, const OutputGradient& grad_output) {
  T5Encoder::Saved saved;
  const torch::Tensor output_BLD = encoder.forward(inputs.at("input_ids"), &saved);
  encoder.backward(saved, grad_output(output_BLD));
  return {.outputs = {{"last_hidden_state", output_BLD}}, .parameter_gradients = {}, .input_gradients = {}};
}

class Description : public ModelDescription {
 public:
  explicit Description(T5Config config) : config_(std::move(config)) {}

  std::shared_ptr<torch::nn::Module> build(const FlatParametersOptions& placement) const override {
    return std::make_shared<T5Encoder>(config_, placement);
  }
  WeightRules weight_rules(Naming, const ShapeMap& theirs) const override { return t5::weight_rules(config_, theirs); }
  std::vector<ForwardPass> passes() const override {
    ForwardPass pass =
        autograd_pass("t5", {{"input_ids", InputSpec::Kind::kTokens, {"B", "L"}}}, {"last_hidden_state"}, run);
    pass.run_with_gradients = [of_weights = pass.run_with_gradients](torch::nn::Module& module, const TensorMap& inputs,
                                                                     const OutputGradient& gradient) {
      return is_adapted(module) ? run_adapted(dynamic_cast<T5Encoder&>(module), inputs, gradient)
                                : of_weights(module, inputs, gradient);
    };
    return {pass};
  }
  std::vector<AdapterTensors> read_adapters(const std::filesystem::path& file) const override {
    return flux::text_encoder_adapters(millrace::read_adapters(WeightStore(file)), flux::LoraPart::kT5, file.string());
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
