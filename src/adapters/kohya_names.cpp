#include "adapters/kohya_names.h"

#include "adapters/tensor_names.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

std::string layer_name(const std::string& ours) {
  return kohya_module_name("lora_unet", ours.substr(0, ours.rfind('.')));
}

double file_alpha(const LoraConfig& config) {
  return config.scale() * static_cast<double>(config.rank);
}

}  // namespace

std::string kohya_name(const std::string& ours) {
  MILLRACE_CHECK(ends_with(ours, ".down") || ends_with(ours, ".up"));
  return layer_name(ours) + (ends_with(ours, ".down") ? ".lora_down.weight" : ".lora_up.weight");
}

TensorMap kohya_alphas(const TensorMap& ours, const LoraConfig& config) {
  TensorMap alphas;
  for (const auto& [name, tensor] : ours) {
    alphas.emplace(layer_name(name) + ".alpha", torch::scalar_tensor(file_alpha(config), torch::kFloat32));
  }
  return alphas;
}

std::map<std::string, std::string> kohya_network_metadata(const LoraConfig& config, const std::string& base) {
  return {{"ss_network_module", "networks.lora_flux"},
          {"ss_network_dim", str(config.rank)},
          {"ss_network_alpha", str(file_alpha(config))},
          {"ss_base_model_version", base}};
}

}  // namespace millrace
