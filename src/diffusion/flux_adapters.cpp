#include "diffusion/flux_adapters.h"

#include <map>

#include "adapters/layer_patterns.h"
#include "adapters/read_adapters.h"
#include "base/text.h"
#include "models/flux/lora_export.h"
#include "models/flux/lora_names.h"

namespace millrace {
namespace {

std::map<std::string, std::shared_ptr<Linear>> linear_layers(const flux::Flux& model) {
  std::map<std::string, std::shared_ptr<Linear>> layers;
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    if (const auto layer = std::dynamic_pointer_cast<Linear>(item.value())) layers.emplace(item.key(), layer);
  }
  return layers;
}

std::vector<std::string> patterns_of(const std::vector<std::string>& targets) {
  std::vector<std::string> patterns;
  for (const std::string& target : targets) {
    if (target == "all") {
      patterns.insert(patterns.end(), {"double_blocks.*", "single_blocks.*"});
    } else if (target == "attention") {
      patterns.insert(patterns.end(), {"double_blocks.*_attn.qkv", "double_blocks.*_attn.proj",
                                       "single_blocks.*.linear1", "single_blocks.*.linear2"});
    } else {
      patterns.push_back(target);
    }
  }
  return patterns;
}

std::vector<AdaptableLayer> chosen_layers(const flux::Flux& model, const LoraConfig& config) {
  const auto layers = linear_layers(model);
  std::vector<AdaptableLayer> chosen;
  for (const std::string& name : adapted_layers(model, config.targets)) chosen.push_back({name, layers.at(name)});
  return chosen;
}

}  // namespace

std::vector<std::string> adapted_layers(const flux::Flux& model, const std::vector<std::string>& targets) {
  std::vector<std::string> names;
  bool has_double = false, has_single = false;
  for (const auto& item : model.named_modules("", /*include_self=*/false)) {
    if (!std::dynamic_pointer_cast<Linear>(item.value())) continue;
    names.push_back(item.key());
    has_double = has_double || starts_with(item.key(), "double_blocks.");
    has_single = has_single || starts_with(item.key(), "single_blocks.");
  }
  std::vector<std::string> patterns;
  for (const std::string& pattern : patterns_of(targets)) {
    // A named set covers the kinds of blocks that the model has.
    const bool is_absent = (!has_double && starts_with(pattern, "double_blocks.*")) ||
                           (!has_single && starts_with(pattern, "single_blocks.*"));
    if (!is_absent) patterns.push_back(pattern);
  }
  return matching_layers(names, patterns, "lora.targets");
}

FluxAdapters::FluxAdapters(const LoraConfig& config, const flux::FluxConfig& sizes,
                           const FlatParametersOptions& placement)
    : config_(config),
      model_(sizes, frozen_placement(placement, config)),
      adapters_(config, chosen_layers(model_, config), placement) {}

torch::Tensor FluxAdapters::forward(const flux::FluxInputs& inputs, flux::Flux::Saved* saved, Keep keep) {
  const UnitUse use = adapters_.forward_use(/*keep=*/saved != nullptr);
  return model_.forward(inputs, saved, keep);
}

void FluxAdapters::backward(flux::Flux::Saved& saved, const torch::Tensor& doutput_BIC) {
  const UnitUse use = adapters_.backward_use();
  model_.backward(saved, doutput_BIC);
}

void FluxAdapters::start_from(const std::filesystem::path& file) {
  const std::string place = file.string();
  const std::vector<AdapterTensors> in_file =
      flux::transformer_adapters(read_adapters(WeightStore(file)), model_.config(), place);
  const std::vector<AdapterTensors> whole = flux::whole_adapters(in_file, model_.config());
  adapters_.start_from(initial_values(whole, config_, place), file);
}

}  // namespace millrace
