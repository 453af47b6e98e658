#include "models/llama/entry.h"

#include <nlohmann/json.hpp>

#include "adapters/peft_file.h"
#include "base/error.h"
#include "models/llama/model.h"
#include "models/llama/weight_names.h"

namespace millrace::llama {
namespace {

PackedTokens tokens_of(const TensorMap& inputs) {
  const auto optional_input = [&](const char* name) {
    const auto found = inputs.find(name);
    return found == inputs.end() ? torch::Tensor() : found->second;
  };
  return pack_tokens(inputs.at("input_ids"), optional_input("position_ids"), optional_input("attention_mask"),
                     "llama's inputs");
}

// [T, V] as the batch it came from.
torch::Tensor as_batch(const torch::Tensor& logits_TV, const TensorMap& inputs) {
  const torch::Tensor& ids_BL = inputs.at("input_ids");
  return logits_TV.view({ids_BL.size(0), ids_BL.size(1), -1});
}

TensorMap run(torch::nn::Module& module, const TensorMap& inputs) {
  Llama& model = dynamic_cast<Llama&>(module);
  return {{"logits", as_batch(model.logits(model.forward_hidden(tokens_of(inputs))), inputs)}};
}

PassResult run_with_gradients(torch::nn::Module& module, const TensorMap& inputs, const OutputGradient& grad_output) {
  Llama& model = dynamic_cast<Llama&>(module);
  const bool trains_weights = !model.is_adapted();
  if (trains_weights) {
    model.allocate_gradients();
    model.flat_parameters().grad().zero_();
  }
  Llama::Saved saved;
  const torch::Tensor hidden_TD = model.forward_hidden(tokens_of(inputs), &saved);
  PassResult result;
  result.outputs["logits"] = as_batch(model.logits(hidden_TD), inputs);
  const torch::Tensor dlogits_TV = grad_output(result.outputs["logits"]).flatten(0, 1);
  model.backward_hidden(saved, model.backward_logits(saved, dlogits_TV));
  if (trains_weights) result.parameter_gradients = model.flat_parameters().named_views(model.flat_parameters().grad());
  return result;
}

class Description : public ModelDescription {
 public:
  explicit Description(LlamaConfig config) : config_(std::move(config)) {}

  std::shared_ptr<torch::nn::Module> build(const FlatParametersOptions& placement) const override {
    return std::make_shared<Llama>(config_, placement);
  }
  WeightRules weight_rules(Naming, const ShapeMap&) const override { return llama::weight_rules(config_); }
  std::vector<ForwardPass> passes() const override {
    using Kind = InputSpec::Kind;
    return {{"llama",
             {{"input_ids", Kind::kTokens, {"B", "L"}},
              {"position_ids", Kind::kTokens, {"B", "L"}, /*optional=*/true},
              {"attention_mask", Kind::kTokens, {"B", "L"}, /*optional=*/true}},
             {"logits"},
             run,
             run_with_gradients}};
  }
  std::vector<AdapterTensors> read_adapters(const std::filesystem::path& file) const override {
    return read_peft_file(file);
  }
  LinearLayers adaptable_layers(torch::nn::Module& module) const override {
    return dynamic_cast<Llama&>(module).linear_layers();
  }
  std::optional<std::string> config_json(Naming) const override { return to_hugging_face_json(config_).dump(2) + "\n"; }

 private:
  LlamaConfig config_;
};

}  // namespace

ModelEntry entry() {
  return {"llama",
          {"llama"},
          {Naming::kHuggingFace},
          ignorable_names(),
          "",
          [](const ShapeMap&, const std::string&) { return Naming::kHuggingFace; },
          [](const nlohmann::json& json, const std::string& place) -> std::unique_ptr<ModelDescription> {
            return std::make_unique<Description>(config_from_json(json, place));
          },
          [](const ShapeMap&, Naming, const std::string& place) -> std::unique_ptr<ModelDescription> {
            throw ModelError("[" + place +
                             "] expected a config.json beside llama's weights: their shapes tell neither heads nor "
                             "rotary frequencies, got none (try --config)");
          }};
}

}  // namespace millrace::llama
