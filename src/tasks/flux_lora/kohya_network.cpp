#include "tasks/flux_lora/kohya_network.h"

#include <algorithm>
#include <map>

#include "base/log.h"
#include "base/text.h"
#include "config/number_text.h"
#include "models/flux/config.h"
#include "models/flux/lora_groups.h"
#include "models/flux/lora_layout.h"
#include "models/flux/lora_network.h"

namespace millrace {
namespace {

// A number of each layer, in the layers' order.
using LayerNumbers = std::vector<std::pair<std::string, double>>;

bool is_in_block(const std::string& layer) {
  return starts_with(layer, "double_blocks.") || starts_with(layer, "single_blocks.");
}

// "double_blocks.*.img_mlp.0" for each "double_blocks.3.img_mlp.0".
std::string kind_of(const std::string& layer) {
  if (!is_in_block(layer)) return layer;
  const size_t stack = layer.find('.'), block = layer.find('.', stack + 1);
  return layer.substr(0, stack + 1) + "*" + layer.substr(block);
}

std::string pattern(const std::string& layers, double number) {
  const auto whole = static_cast<int64_t>(number);
  const std::string text = static_cast<double>(whole) == number ? std::to_string(whole) : number_text(number);
  return layers + "=" + text;
}

// As few "pattern=number" as say which number each layer has; none for those that have the usual one. The first that
// fits counts.
std::vector<std::string> patterns_of(const LayerNumbers& numbers, double usual) {
  std::vector<std::string> patterns;
  std::map<std::string, std::map<double, int>> counts;  // by stack, and by kind of layer
  for (const auto& [layer, number] : numbers) {
    const std::string kind = kind_of(layer);
    ++counts[kind][number];
    if (is_in_block(layer)) ++counts[layer.substr(0, layer.find('.')) + ".*"][number];
  }
  std::vector<std::string> done;
  const auto is_done = [&](const std::string& name) { return std::find(done.begin(), done.end(), name) != done.end(); };
  for (const auto& [first, unused] : numbers) {
    const std::string stack = is_in_block(first) ? first.substr(0, first.find('.')) + ".*" : "";
    const std::string kind = kind_of(first);
    if (is_done(stack) || is_done(kind)) continue;
    const std::string& name = !stack.empty() && counts[stack].size() == 1 ? stack : kind;
    const std::map<double, int>& values = counts[name];
    const auto most = std::max_element(values.begin(), values.end(),
                                       [](const auto& a, const auto& b) { return a.second < b.second; });
    for (const auto& [layer, number] : numbers) {  // exceptions come first
      if (values.size() > 1 && kind_of(layer) == kind && number != most->first) {
        patterns.push_back(pattern(layer, number));
      }
    }
    if (most->first != usual) patterns.push_back(pattern(name, most->first));
    done.push_back(name);
  }
  return patterns;
}

}  // namespace

KohyaLayersOf kohya_layers_of_flux(int64_t double_blocks, int64_t single_blocks, bool has_guidance) {
  return [=](const KohyaNetworkArguments& arguments) {
    flux::FluxConfig sizes = flux::flavor(has_guidance ? "flux-dev" : "flux-schnell");
    sizes.depth = double_blocks;
    sizes.depth_single_blocks = single_blocks;
    const flux::LoraNetwork network =
        flux::parse_lora_network(arguments.dim, arguments.alpha, arguments.network_args, sizes);
    const std::vector<flux::LoraModule> modules = flux::lora_modules({.transformer = &sizes}, network);

    KohyaLayers layers;
    layers.split_qkv = network.split_qkv;
    layers.train_t5xxl = network.train_t5xxl;
    layers.rank_dropout = network.rank_dropout;
    layers.module_dropout = network.module_dropout;
    layers.notes = network.notes;
    const double own_ratio = network.loraplus_unet_lr_ratio.value_or(0);
    const double ratio = own_ratio != 0 ? own_ratio : network.loraplus_lr_ratio.value_or(0);
    if (ratio != 0) layers.loraplus_ratio = ratio;

    std::map<std::string, double> rank_of, lr_of;  // by layer
    std::map<std::string, double> lr_of_parameter;
    for (const flux::LoraGroup& group :
         flux::lora_groups(modules, network, {.learning_rate = arguments.learning_rate})) {
      for (const std::string& name : group.parameters) lr_of_parameter[name] = group.lr;
    }
    LayerNumbers ranks, factors;
    for (const flux::LoraModule& module : modules) {
      rank_of[module.layer.module] = static_cast<double>(module.rank);
      lr_of[module.layer.module] = lr_of_parameter[module.parameter_names().front()];
      if (!is_in_block(module.layer.module)) layers.targets.push_back(module.layer.module);
    }
    for (const flux::LinearLayer& layer : flux::linear_layers(sizes)) {
      const bool is_trained = rank_of.contains(layer.module);
      if (is_in_block(layer.module) || is_trained) {
        ranks.emplace_back(layer.module, is_trained ? rank_of[layer.module] : 0);
      }
      if (is_trained && arguments.learning_rate > 0) {
        factors.emplace_back(layer.module, lr_of[layer.module] / arguments.learning_rate);
      }
    }
    layers.rank_patterns = patterns_of(ranks, static_cast<double>(arguments.dim));
    layers.lr_patterns = patterns_of(factors, 1);
    return layers;
  };
}

}  // namespace millrace
