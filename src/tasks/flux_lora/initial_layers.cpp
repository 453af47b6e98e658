#include "tasks/flux_lora/initial_layers.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>

#include "adapters/lokr_sizes.h"
#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "checkpoint/checkpoint_folder.h"
#include "compat/kohya_model_facts.h"
#include "diffusion/flux_setup.h"
#include "diffusion/initial_adapters.h"
#include "models/autoencoder/config.h"
#include "models/clip/config.h"
#include "models/flux/lora_layout.h"
#include "models/lora_text_names.h"
#include "models/model_table.h"
#include "models/t5/config.h"
#include "tasks/flux_lora/flux_lora_config.h"
#include "tasks/flux_lora/number_patterns.h"
#include "tasks/task_table.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

using LayersInFile = std::map<std::string, const AdapterTensors*>;  // by the run's names

[[noreturn]] void fail(const std::string& file, const AdapterTensors& adapter, const std::string& problem) {
  throw ModelError(str("[", file, ": ", name_in_file(adapter), "] ", problem));
}

std::unique_ptr<RunConfig> config_of_checkpoint(const RunConfig& config) {
  const fs::path folder = config.job.dump_folder, file = folder / "config.toml";
  if (!config.checkpoint.enable || step_folders(folder / config.checkpoint.folder).empty()) return nullptr;
  return fs::exists(file) ? load_task_config(file, {}) : nullptr;
}

void take_layers_of_run(FluxLoraConfig& config, const FluxLoraConfig& run) {
  LoraConfig& lora = config.lora_options;
  const LoraConfig& there = run.lora_options;
  lora.kind = there.kind;
  lora.rank = there.rank;
  lora.alpha = there.alpha;
  lora.rank_stabilised = there.rank_stabilised;
  lora.targets = there.targets;
  lora.rank_patterns = there.rank_patterns;
  lora.alpha_patterns = there.alpha_patterns;
  lora.lokr_factor = there.lokr_factor;
  lora.lokr_decompose_both = there.lokr_decompose_both;
  config.flux_options.train_clip_l = run.flux_options.train_clip_l;
}

// Those of the weights that are trained on top of; of FLUX.1 where they are not there, as for a plan.
int64_t latent_channels(const FluxLoraConfig& config) {
  const std::string& base = config.checkpoint.initial_load_path;
  if (base.empty() || !fs::exists(base)) return autoencoder::AutoencoderConfig().latent_channels;
  const ModelWeights weights(find_model("flux"), base);
  return weights.model().shapes().at("img_in.weight").at(1) / (patch_size(config) * patch_size(config));
}

const AdapterTensors* first_of(const std::vector<AdapterTensors>& adapters, const char* prefix) {
  const auto first = std::find_if(adapters.begin(), adapters.end(),
                                  [&](const AdapterTensors& one) { return starts_with(one.module, prefix); });
  return first == adapters.end() ? nullptr : &*first;
}

// Whether each encoder is trained follows from the file, or agrees with it.
void settle_text_encoders(FluxLoraConfig& config, const std::vector<AdapterTensors>& adapters) {
  const std::string& file = config.lora_options.initial_adapter;
  std::optional<bool>& trains_clip = config.flux_options.train_clip_l;
  const AdapterTensors* clip = first_of(adapters, flux::kClipAdapters);
  if (clip == nullptr) {
    if (trains_clip == true) {
      throw ConfigError("[lora.train_clip_l] expected false, since " + file + " has no adapters of CLIP, got true");
    }
    trains_clip = false;
  } else if (!trains_clip && !config.trains_clip_l()) {
    throw ConfigError(str("[lora.train_clip_l] expected captions and the path of encoder.clip_encoder, since ", file,
                          " has adapters of CLIP (", name_in_file(*clip),
                          "), got neither (try lora.train_clip_l = false, which leaves them out)"));
  }
  const AdapterTensors* t5 = first_of(adapters, flux::kT5Adapters);
  if (config.trains_t5xxl() == (t5 != nullptr)) return;
  throw ConfigError(t5 != nullptr ? str("[lora.train_t5xxl] expected true, since ", file, " has adapters of T5 (",
                                        name_in_file(*t5), "), got false (try lora.train_t5xxl = true)")
                                  : "[lora.train_t5xxl] expected false, since " + file +
                                        " has no adapters of T5, got true (try lora.train_t5xxl = false)");
}

// The layers that are trained, or of a kind that lora.targets = ["all"] chooses, by the run's names, in its order.
std::vector<std::string> layers_to_number(const FluxLoraConfig& config, const flux::FluxConfig& sizes,
                                          const LayersInFile& in_file) {
  std::vector<std::string> names;
  for (const flux::LinearLayer& layer : flux::linear_layers(sizes)) {
    if (flux::is_in_block(layer.module) || in_file.contains(layer.module)) names.push_back(layer.module);
  }
  const auto add = [&](flux::LoraPart part, const std::vector<flux::LinearLayer>& layers) {
    for (const flux::LinearLayer& layer : layers) names.push_back(flux::run_name({part, layer.module}));
  };
  if (config.trains_clip_l()) {
    clip::ClipConfig clip;
    clip.num_hidden_layers = count_encoder_blocks(config.encoder.clip_encoder).value_or(clip.num_hidden_layers);
    add(flux::LoraPart::kClip, flux::linear_layers(clip));
  }
  if (config.trains_t5xxl()) {
    t5::T5Config t5;
    t5.num_layers = count_encoder_blocks(config.encoder.t5_encoder).value_or(t5.num_layers);
    add(flux::LoraPart::kT5, flux::linear_layers(t5));
  }
  return names;
}

double most_frequent(const NumbersByLayer& numbers) {
  std::map<double, int> counts;
  for (const auto& [layer, number] : numbers) ++counts[number];
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

// Kronecker products

LokrSizes sizes_in_file(const AdapterTensors& adapter) {
  const auto factor = [&](const std::string& role) -> LokrFactor {
    const auto whole = adapter.tensors.find(role);
    if (whole != adapter.tensors.end()) return {whole->second.values.size(0), whole->second.values.size(1), 0};
    const torch::Tensor &a = adapter.tensors.at(role + "_a").values, &b = adapter.tensors.at(role + "_b").values;
    return {a.size(0), b.size(1), b.size(0)};
  };
  return {factor("w1"), factor("w2")};
}

// A rank that gives the adapter its sizes: its own, or, of whole matrices, the least of which there are no thin ones.
int64_t rank_of(const AdapterTensors& adapter) {
  const int64_t own = sizes_of(adapter).rank;
  if (adapter.kind != AdapterKind::kLokr || own > 0) return own;
  const LokrFactor second = sizes_in_file(adapter).w2;
  return (std::max(second.rows, second.columns) + 1) / 2;
}

bool gives_sizes(const LoraConfig& lora, const AdapterTensors& adapter) {
  const AdapterSizes layer = sizes_of(adapter);
  return lokr_sizes(layer.in_features, layer.out_features, rank_of(adapter), lora.lokr_factor,
                    lora.lokr_decompose_both) == sizes_in_file(adapter);
}

void settle_lokr(LoraConfig& lora, const std::vector<const AdapterTensors*>& adapters) {
  lora.lokr_decompose_both = false;
  std::vector<std::optional<int64_t>> factors = {std::nullopt};
  for (const AdapterTensors* adapter : adapters) {
    const LokrFactor first = sizes_in_file(*adapter).w1;
    lora.lokr_decompose_both = lora.lokr_decompose_both || first.rank > 0;
    for (const int64_t size : {first.rows, first.columns}) {
      if (size >= 2 && std::find(factors.begin(), factors.end(), size) == factors.end()) factors.emplace_back(size);
    }
  }
  const auto fits = [&](const AdapterTensors* adapter) { return gives_sizes(lora, *adapter); };
  for (const std::optional<int64_t>& factor : factors) {
    lora.lokr_factor = factor;
    if (std::all_of(adapters.begin(), adapters.end(), fits)) return;
  }
  const AdapterTensors& other = **std::find_if_not(adapters.begin(), adapters.end(), fits);
  fail(lora.initial_adapter, other, "expected Kronecker products of sizes that one lora.lokr_factor gives, got others");
}

// The options that give every layer the adapter that the file has.

void take_alphas(LoraConfig& lora, const std::vector<const AdapterTensors*>& adapters) {
  NumbersByLayer alphas;
  bool are_ranks = true;
  for (const AdapterTensors* adapter : adapters) {
    const auto rank = static_cast<double>(sizes_of(*adapter).rank);
    if (rank == 0) continue;  // the scale of whole matrices goes into them
    // Files have fp32 at most: the alpha itself, in spite of the division.
    const double alpha = static_cast<float>(adapter->scale * rank);
    if (alpha <= 0) {
      fail(lora.initial_adapter, *adapter, str("expected an alpha above 0 to train with, got ", alpha));
    }
    are_ranks = are_ranks && alpha == rank;
    alphas.emplace_back(adapter->module, alpha);
  }
  lora.rank_stabilised = false;
  lora.alpha.reset();
  lora.alpha_patterns.clear();
  if (are_ranks) return;
  lora.alpha = most_frequent(alphas);
  lora.alpha_patterns = number_patterns(alphas, *lora.alpha);
}

void take_layers_of_file(FluxLoraConfig& config) {
  LoraConfig& lora = config.lora_options;
  const std::string& file = lora.initial_adapter;
  const bool is_strict = config.flux_options.initial_adapter_strict;
  const flux::FluxConfig sizes = flux_config(config, latent_channels(config));
  std::vector<std::string> unknown;  // for which the start of the run has a warning
  const InitialAdapters found = read_initial_adapters(file, sizes, is_strict ? nullptr : &unknown);
  settle_text_encoders(config, found.text_encoders);

  LayersInFile trained;
  for (const AdapterTensors& adapter : found.transformer) trained[adapter.module] = &adapter;
  for (const AdapterTensors& adapter : found.text_encoders) {
    const bool leaves_out = starts_with(adapter.module, flux::kClipAdapters) && !config.trains_clip_l();
    if (!leaves_out) trained[adapter.module] = &adapter;
  }
  const std::vector<std::string> layers = layers_to_number(config, sizes, trained);
  std::erase_if(trained, [&](const auto& each) {
    const bool is_known = std::find(layers.begin(), layers.end(), each.first) != layers.end();
    if (!is_known && is_strict) {
      fail(file, *each.second, "expected adapters of layers that the text encoders have, got one of " + each.first);
    }
    return !is_known;
  });
  std::vector<const AdapterTensors*> in_order;
  for (const std::string& layer : layers) {
    if (trained.contains(layer)) in_order.push_back(trained.at(layer));
  }
  if (in_order.empty()) throw ModelError("[" + file + "] expected adapters of layers that are trained, got none");

  lora.kind = in_order.front()->kind;
  for (const AdapterTensors* adapter : in_order) {
    if (adapter->kind == lora.kind) continue;
    fail(file, *adapter,
         str("expected adapters of one kind, ", choice_text(lora.kind), " as ", name_in_file(*in_order.front()),
             ", got ", choice_text(adapter->kind)));
  }
  if (lora.kind == AdapterKind::kLokr) settle_lokr(lora, in_order);

  lora.targets = {"all"};
  NumbersByLayer ranks, given;
  for (const std::string& layer : layers) {
    const auto own = trained.find(layer);
    ranks.emplace_back(layer, own == trained.end() ? 0 : static_cast<double>(rank_of(*own->second)));
    if (own != trained.end()) given.push_back(ranks.back());
    if (!flux::is_in_block(layer) && !flux::parse_run_text_layer(layer)) lora.targets.push_back(layer);
  }
  lora.rank = static_cast<int64_t>(most_frequent(given));
  lora.rank_patterns = number_patterns(ranks, static_cast<double>(lora.rank));
  take_alphas(lora, in_order);
  log_info("lora.ranks_from_initial_adapter: ", choice_text(lora.kind), " on ", trained.size(),
           " layers, most of rank ", lora.rank, ", as in ", file);
}

}  // namespace

void settle_flux_lora_config(RunConfig& config, int64_t /*world_size*/) {
  auto* flux = dynamic_cast<FluxLoraConfig*>(&config);
  if (flux == nullptr || !flux->flux_options.ranks_from_initial_adapter) return;
  const std::unique_ptr<RunConfig> run = config_of_checkpoint(config);
  if (const auto* there = dynamic_cast<const FluxLoraConfig*>(run.get())) {
    take_layers_of_run(*flux, *there);
  } else {
    take_layers_of_file(*flux);
  }
  flux->flux_options.ranks_from_initial_adapter = false;
  Problems problems;  // of options that another kind of adapter does not have
  flux->check(problems);
  problems.throw_if_any();
}

}  // namespace millrace
