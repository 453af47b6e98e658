#include "models/autoencoder/entry.h"

#include <nlohmann/json.hpp>

#include "models/autoencoder/model.h"
#include "models/autoencoder/weight_names.h"

namespace millrace::autoencoder {
namespace {

TensorMap encode(torch::nn::Module& module, const TensorMap& inputs) {
  const Moments moments = dynamic_cast<Autoencoder&>(module).encode(inputs.at("image"));
  return {{"mean", moments.mean_BZhw}, {"logvar", moments.logvar_BZhw}};
}

TensorMap decode(torch::nn::Module& module, const TensorMap& inputs) {
  return {{"image", dynamic_cast<Autoencoder&>(module).decode(inputs.at("latent"))}};
}

class Description : public ModelDescription {
 public:
  explicit Description(AutoencoderConfig config) : config_(std::move(config)) {}

  // Whole on every rank: 84 million weights are not worth the gathers.
  std::shared_ptr<torch::nn::Module> build(const FlatParametersOptions& placement) const override {
    return std::make_shared<Autoencoder>(
        config_, torch::TensorOptions().dtype(placement.compute_dtype).device(placement.device));
  }
  WeightRules weight_rules(Naming naming, const ShapeMap&) const override {
    return autoencoder::weight_rules(config_, naming);
  }
  std::vector<ForwardPass> passes() const override {
    const std::string image = std::to_string(config_.in_channels), latent = std::to_string(config_.latent_channels);
    return {autograd_pass("autoencoder-encode", {{"image", InputSpec::Kind::kFeatures, {"B", image, "H", "W"}}},
                          {"mean", "logvar"}, encode),
            autograd_pass("autoencoder-decode", {{"latent", InputSpec::Kind::kFeatures, {"B", latent, "h", "w"}}},
                          {"image"}, decode)};
  }
  std::optional<std::string> config_json(Naming naming) const override {
    if (naming != Naming::kDiffusers) return std::nullopt;
    return to_diffusers_json(config_).dump(2) + "\n";
  }

 private:
  AutoencoderConfig config_;
};

}  // namespace

ModelEntry entry() {
  return {"autoencoder",
          {"autoencoder-encode", "autoencoder-decode"},
          {Naming::kBfl, Naming::kDiffusers, Naming::kTorchtitan},
          {},
          "",
          detect_naming,
          [](const nlohmann::json& json, const std::string& place) -> std::unique_ptr<ModelDescription> {
            return std::make_unique<Description>(config_from_json(json, place));
          },
          [](const ShapeMap& theirs, Naming naming, const std::string& place) -> std::unique_ptr<ModelDescription> {
            return std::make_unique<Description>(config_from_shapes(theirs, naming, place));
          }};
}

}  // namespace millrace::autoencoder
