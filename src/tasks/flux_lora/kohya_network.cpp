#include "tasks/flux_lora/kohya_network.h"

#include <array>
#include <map>

#include "base/text.h"
#include "models/clip/config.h"
#include "models/flux/config.h"
#include "models/flux/lora_groups.h"
#include "models/flux/lora_layout.h"
#include "models/flux/lora_network.h"
#include "models/lora_text_names.h"
#include "models/t5/config.h"
#include "tasks/flux_lora/number_patterns.h"

namespace millrace {
namespace {

// As the run's own adapters are called.
std::string run_layer_name(const flux::LoraModule& module) {
  const std::string& name = module.layer.module;
  return module.part == flux::LoraPart::kTransformer ? name : flux::run_name({module.part, name});
}

// With --dim_from_weights, what sd-scripts' arguments choose counts for nothing.
void take_every_layer(flux::LoraNetwork& network, const std::map<std::string, std::string>& network_args) {
  for (const auto& [key, value] : network_args) {
    const bool chooses = starts_with(key, "train_") || ends_with(key, "_indices") || ends_with(key, "_dim") ||
                         ends_with(key, "_dims") || key == "split_qkv";
    if (!chooses || starts_with(key, "conv_")) continue;
    network.notes.push_back(key + " has no effect beside --dim_from_weights: layers and ranks are those of the file");
  }
  network.trains_double_blocks = network.trains_single_blocks = true;
  network.double_blocks.clear();
  network.single_blocks.clear();
  network.type_dims = {};
  network.in_dims = std::array<int64_t, 5>{1, 1, 1, 1, 1};  // embedders too: take_file() has the ranks
  network.reg_dims.clear();
  network.split_qkv = false;
}

// Those that the file has, as it has them.
void take_file(std::vector<flux::LoraModule>& modules, const std::map<std::string, KohyaModule>& file) {
  std::erase_if(modules, [&](const flux::LoraModule& module) { return !file.contains(module.name); });
  for (flux::LoraModule& module : modules) {
    module.rank = file.at(module.name).rank;
    module.alpha = file.at(module.name).alpha;
  }
}

}  // namespace

KohyaLayersOf kohya_layers_of_flux(int64_t double_blocks, int64_t single_blocks, bool has_guidance) {
  return [=](const KohyaNetworkArguments& arguments) {
    flux::FluxConfig sizes = flux::flavor(has_guidance ? "flux-dev" : "flux-schnell");
    sizes.depth = double_blocks;
    sizes.depth_single_blocks = single_blocks;
    flux::LoraNetwork network = flux::parse_lora_network(arguments.dim, arguments.alpha, arguments.network_args, sizes);
    const bool is_from_file = !arguments.modules.empty();
    if (is_from_file) {
      take_every_layer(network, arguments.network_args);
      network.train_t5xxl = arguments.t5_lr.has_value();
    }
    clip::ClipConfig clip;
    t5::T5Config t5;
    clip.num_hidden_layers = arguments.clip_blocks.value_or(clip.num_hidden_layers);
    t5.num_layers = arguments.t5_blocks.value_or(t5.num_layers);
    const flux::LoraTargets targets = {.transformer = arguments.trains_transformer ? &sizes : nullptr,
                                       .clip = arguments.clip_lr ? &clip : nullptr,
                                       .t5 = arguments.t5_lr ? &t5 : nullptr};
    std::vector<flux::LoraModule> modules = flux::lora_modules(targets, network);
    if (is_from_file) take_file(modules, arguments.modules);

    KohyaLayers layers;
    layers.split_qkv = network.split_qkv;
    layers.train_t5xxl = network.train_t5xxl;
    layers.rank_dropout = network.rank_dropout;
    layers.module_dropout = network.module_dropout;
    layers.notes = network.notes;
    const auto ratio_of = [&](const std::optional<double>& own) {
      return own.value_or(0) != 0 ? *own : network.loraplus_lr_ratio.value_or(0);
    };
    const double ratio = ratio_of(network.loraplus_unet_lr_ratio);
    const double text_ratio = ratio_of(network.loraplus_text_encoder_lr_ratio);
    if (ratio != 0) layers.loraplus_ratio = ratio;
    if ((arguments.clip_lr || arguments.t5_lr) && text_ratio != ratio)
      layers.text_encoder_loraplus_ratio = text_ratio != 0 ? text_ratio : 1;

    flux::LoraLearningRates rates;
    rates.learning_rate = arguments.learning_rate;
    rates.unet_lr = arguments.transformer_lr;
    rates.text_encoder_lr = {arguments.clip_lr.value_or(0), arguments.t5_lr.value_or(0)};
    std::map<std::string, double> lr_of_parameter;
    for (const flux::LoraGroup& group : flux::lora_groups(modules, network, rates)) {
      for (const std::string& name : group.parameters) lr_of_parameter[name] = group.lr;
    }
    // What each layer has, in the layers' order.
    std::map<std::string, double> rank_of, lr_of;
    NumbersByLayer alphas;
    for (const flux::LoraModule& module : modules) {
      const std::string name = run_layer_name(module);
      rank_of[name] = static_cast<double>(module.rank);
      lr_of[name] = lr_of_parameter[module.parameter_names().front()];
      alphas.emplace_back(name, module.alpha);
      const bool is_of_transformer = module.part == flux::LoraPart::kTransformer;
      if (is_of_transformer && !flux::is_in_block(name)) layers.targets.push_back(name);
    }
    NumbersByLayer ranks, factors;
    const auto add = [&](const std::string& name, bool is_target, double usual_rate) {
      const bool is_trained = rank_of.contains(name);
      if (is_target || is_trained) ranks.emplace_back(name, is_trained ? rank_of[name] : 0);
      if (is_trained && usual_rate > 0) factors.emplace_back(name, lr_of[name] / usual_rate);
    };
    for (const flux::LinearLayer& layer : flux::linear_layers(sizes)) {
      add(layer.module, flux::is_in_block(layer.module), arguments.learning_rate);
    }
    const auto add_text = [&](flux::LoraPart part, const std::vector<flux::LinearLayer>& of_encoder,
                              const std::optional<double>& rate) {
      if (!rate) return;
      for (const flux::LinearLayer& layer : of_encoder) add(flux::run_name({part, layer.module}), true, *rate);
    };
    add_text(flux::LoraPart::kClip, flux::linear_layers(clip), arguments.clip_lr);
    add_text(flux::LoraPart::kT5, flux::linear_layers(t5), arguments.t5_lr);
    layers.rank_patterns = number_patterns(ranks, static_cast<double>(arguments.dim));
    if (is_from_file) layers.alpha_patterns = number_patterns(alphas, arguments.alpha);
    layers.lr_patterns = number_patterns(factors, 1);
    return layers;
  };
}

}  // namespace millrace
