#include "models/flux/entry.h"

#include <nlohmann/json.hpp>

#include "adapters/read_adapters.h"
#include "base/log.h"
#include "models/adapted_model.h"
#include "models/flux/lora_names.h"
#include "models/flux/model.h"
#include "models/flux/weight_names.h"

namespace millrace::flux {
namespace {

FluxInputs as_inputs(const TensorMap& tensors) {
  const auto guidance = tensors.find("guidance");
  return {.img_BIC = tensors.at("img"),
          .img_ids_BIA = tensors.at("img_ids"),
          .txt_BTX = tensors.at("txt"),
          .txt_ids_BTA = tensors.at("txt_ids"),
          .timesteps_B = tensors.at("timesteps"),
          .y_BV = tensors.at("y"),
          .guidance_B = guidance == tensors.end() ? torch::Tensor() : guidance->second};
}

TensorMap as_map(const FluxInputGradients& gradients) {
  TensorMap map = {{"img", gradients.img_BIC},         {"img_ids", gradients.img_ids_BIA},   {"txt", gradients.txt_BTX},
                   {"txt_ids", gradients.txt_ids_BTA}, {"timesteps", gradients.timesteps_B}, {"y", gradients.y_BV}};
  if (gradients.guidance_B.defined()) map["guidance"] = gradients.guidance_B;
  return map;
}

TensorMap run(torch::nn::Module& module, const TensorMap& inputs) {
  return {{"output", dynamic_cast<Flux&>(module).forward(as_inputs(inputs))}};
}

PassResult run_with_gradients(torch::nn::Module& module, const TensorMap& inputs, const OutputGradient& grad_output) {
  Flux& flux = dynamic_cast<Flux&>(module);
  Flux::Saved saved;
  FluxInputGradients input_gradients;
  PassResult result;
  if (is_adapted(flux)) {
    result.outputs["output"] = flux.forward(as_inputs(inputs), &saved);
    flux.backward(saved, grad_output(result.outputs["output"]));
    return result;
  }
  flux.allocate_gradients();
  const torch::Tensor& grad = flux.flat_parameters().grad();
  grad.zero_();
  result.outputs["output"] = flux.forward(as_inputs(inputs), &saved);
  flux.backward(saved, grad_output(result.outputs["output"]), &input_gradients);
  result.parameter_gradients = flux.flat_parameters().named_views(grad);
  result.input_gradients = as_map(input_gradients);
  return result;
}

class Description : public ModelDescription {
 public:
  explicit Description(FluxConfig config) : config_(std::move(config)) {}

  const FluxConfig& config() const { return config_; }
  std::shared_ptr<torch::nn::Module> build(const FlatParametersOptions& placement) const override {
    return std::make_shared<Flux>(config_, placement);
  }
  WeightRules weight_rules(Naming naming, const ShapeMap&) const override {
    return flux::weight_rules(config_, naming);
  }
  std::vector<AdapterTensors> read_adapters(const std::filesystem::path& file) const override {
    return transformer_adapters(millrace::read_adapters(WeightStore(file)), config_, file.string());
  }
  std::vector<AdapterTensors> adapters_of_run(std::vector<AdapterTensors> adapters) const override {
    LoraParts parts = sort_run_adapters(std::move(adapters), config_);
    if (!parts.text_encoders.empty()) {
      log_info("leaves out ", parts.text_encoders.size(), " adapters of text encoders");
    }
    return std::move(parts.transformer);
  }
  std::vector<ForwardPass> passes() const override {
    using Kind = InputSpec::Kind;
    const std::string axes = std::to_string(config_.axes_dim.size());
    ForwardPass pass{"flux",
                     {{"img", Kind::kFeatures, {"B", "Li", std::to_string(config_.in_channels)}},
                      {"img_ids", Kind::kNumbers, {"B", "Li", axes}},
                      {"txt", Kind::kFeatures, {"B", "Lt", std::to_string(config_.context_in_dim)}},
                      {"txt_ids", Kind::kNumbers, {"B", "Lt", axes}},
                      {"timesteps", Kind::kNumbers, {"B"}},
                      {"y", Kind::kFeatures, {"B", std::to_string(config_.vec_in_dim)}}},
                     {"output"},
                     run,
                     run_with_gradients};
    if (config_.guidance_embed) pass.inputs.push_back({"guidance", Kind::kNumbers, {"B"}});
    return {pass};
  }
  std::optional<std::string> config_json(Naming naming) const override {
    if (naming != Naming::kDiffusers) return std::nullopt;
    return to_diffusers_json(config_).dump(2) + "\n";
  }

 private:
  FluxConfig config_;
};

}  // namespace

ModelEntry entry() {
  return {"flux",
          {"flux"},
          {Naming::kBfl, Naming::kDiffusers, Naming::kTorchtitan},
          {},
          kTransformerPrefix,
          detect_naming,
          [](const nlohmann::json& json, const std::string& place) -> std::unique_ptr<ModelDescription> {
            return std::make_unique<Description>(config_from_json(json, place));
          },
          [](const ShapeMap& theirs, Naming naming, const std::string& place) -> std::unique_ptr<ModelDescription> {
            return std::make_unique<Description>(config_from_shapes(theirs, naming, place));
          }};
}

std::unique_ptr<ModelDescription> describe(const FluxConfig& sizes) {
  return std::make_unique<Description>(sizes);
}

const FluxConfig& config_of(const ModelDescription& flux) {
  return dynamic_cast<const Description&>(flux).config();
}

}  // namespace millrace::flux
