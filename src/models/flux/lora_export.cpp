#include "models/flux/lora_export.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "adapters/read_adapters.h"
#include "adapters/tensor_names.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "models/flux/lora_layout.h"
#include "models/flux/weight_names.h"
#include "models/lora_text_names.h"

namespace millrace::flux {
namespace {

// A LoRA of one layer, in whichever program's rows.
struct Pair {
  torch::Tensor down, up;
  double scale = 1;

  int64_t rank() const { return down.size(0); }
};

Pair pair_of(const AdapterTensors& adapter) {
  if (adapter.kind != AdapterKind::kLora) {
    throw ModelError("[" + adapter.tensors.begin()->second.name + "] expected LoRA, got an adapter of another kind");
  }
  return {adapter.tensors.at("down").values, in_model_order(adapter.tensors.at("up")), adapter.scale};
}

torch::Tensor times(const torch::Tensor& tensor, double factor) {
  return factor == 1 ? tensor : (tensor.to(torch::kFloat32) * factor).to(tensor.scalar_type());
}

// The scale goes into the down projection, and by powers of two into the up projection, so that the two stay of a size.
Pair without_scale(Pair pair) {
  double down = pair.scale, up = 1;
  while (down > 0 && down * 2 < up) down *= 2, up /= 2;
  return {times(pair.down, down), times(pair.up, up), 1};
}

// ---- From fused layers to one layer for each of their parts.

// A part of a layer that diffusers has as a layer of its own.
struct Part {
  std::string theirs;
  int64_t begin = 0, end = 0;
  bool swap_halves = false;
};
using PartsByLayer = std::map<std::string, std::vector<Part>>;

PartsByLayer parts_by_layer(const FluxConfig& config) {
  std::map<std::string, int64_t> rows;
  for (const LinearLayer& layer : linear_layers(config)) rows[layer.module] = layer.out_features;
  PartsByLayer parts;
  for (const WeightRule& rule : weight_rules(config, Naming::kDiffusers)) {
    if (!ends_with(rule.theirs, ".weight")) continue;
    const std::string ours = rule.ours.substr(0, rule.ours.rfind('.'));
    const auto found = rows.find(ours);
    if (found == rows.end()) continue;  // a norm
    parts[ours].push_back({rule.theirs.substr(0, rule.theirs.rfind('.')), rule.row_begin,
                           rule.row_end < 0 ? found->second : rule.row_end, rule.swap_halves});
  }
  return parts;
}

// Each part's columns of up hold its own rows alone.
bool is_block_diagonal(const torch::Tensor& up, const std::vector<Part>& parts, int64_t row) {
  const int64_t count = std::ssize(parts);
  if (up.size(1) % count != 0) return false;
  const int64_t rank = up.size(1) / count;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t k = 0; k < count; ++k) {
      if (i == k) continue;
      const torch::Tensor block =
          up.narrow(0, parts[i].begin - row, parts[i].end - parts[i].begin).narrow(1, k * rank, rank);
      if (block.count_nonzero().item<int64_t>() > 0) return false;
    }
  }
  return true;
}

void add_parts(std::map<std::string, Pair>& pairs, const AdapterTensors& adapter, const std::vector<Part>& all) {
  const Pair whole = pair_of(adapter);
  const int64_t begin = adapter.row_begin, end = begin + whole.up.size(0);
  std::vector<Part> parts;
  std::copy_if(all.begin(), all.end(), std::back_inserter(parts),
               [&](const Part& part) { return part.begin >= begin && part.end <= end; });
  MILLRACE_CHECK(!parts.empty());
  const bool splits = parts.size() > 1 && is_block_diagonal(whole.up, parts, begin);
  const int64_t rank = splits ? whole.rank() / std::ssize(parts) : whole.rank();
  for (size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    const int64_t column = splits ? static_cast<int64_t>(i) * rank : 0;
    torch::Tensor up = whole.up.narrow(0, part.begin - begin, part.end - part.begin).narrow(1, column, rank);
    if (part.swap_halves) up = in_model_order({"", up, true});
    if (!pairs.emplace(part.theirs, Pair{whole.down.narrow(0, column, rank).contiguous(), up.contiguous(), whole.scale})
             .second) {
      throw ModelError("[" + part.theirs + "] expected one adapter for a layer, got two");
    }
  }
}

std::map<std::string, Pair> pairs_by_diffusers_layer(const LoraParts& parts, const FluxConfig& config) {
  const PartsByLayer layers = parts_by_layer(config);
  std::map<std::string, Pair> pairs;
  for (const AdapterTensors& adapter : parts.transformer) add_parts(pairs, adapter, layers.at(adapter.module));
  return pairs;
}

// ---- From parts to fused layers.

Pair fused(const std::vector<const AdapterTensors*>& adapters, int64_t out_features) {
  std::vector<Pair> pairs;
  for (const AdapterTensors* adapter : adapters) pairs.push_back(pair_of(*adapter));
  const Pair& first = pairs.front();
  const bool same_scale =
      std::all_of(pairs.begin(), pairs.end(), [&](const Pair& pair) { return pair.scale == first.scale; });
  const bool same_down = same_scale && std::all_of(pairs.begin(), pairs.end(), [&](const Pair& pair) {
                           return pair.down.sizes() == first.down.sizes() && at::equal(pair.down, first.down);
                         });
  int64_t rank = same_down ? first.rank() : 0;
  for (const Pair& pair : pairs) rank += same_down ? 0 : pair.rank();
  torch::Tensor up = torch::zeros({out_features, rank}, first.up.options());
  std::vector<torch::Tensor> downs;
  int64_t column = 0;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const Pair& pair = pairs[i];
    up.narrow(0, adapters[i]->row_begin, pair.up.size(0))
        .narrow(1, column, pair.rank())
        .copy_(same_scale ? pair.up : times(pair.up, pair.scale));
    if (!same_down) column += pair.rank();
    if (i == 0 || !same_down) downs.push_back(pair.down);
  }
  return {at::cat(downs, 0), up, same_scale ? first.scale : 1.0};
}

// Kronecker products of whole matrices have no rank that an alpha could be divided by: their scale is one. LyCORIS
// reads an alpha of every module all the same.
void add_kohya(TensorMap& tensors, const std::string& name, const AdapterTensors& adapter) {
  for (const auto& [role, tensor] : adapter.tensors) {
    const torch::Tensor values = in_model_order(tensor);
    tensors[name + kohya_ending(adapter.kind, role)] = role == "magnitude" ? values.reshape({-1, 1}) : values;
  }
  const int64_t rank = sizes_of(adapter).rank;
  const double alpha = rank > 0 ? adapter.scale * static_cast<double>(rank) : 1;
  tensors[name + ".alpha"] = torch::tensor(alpha, torch::kFloat32);
}

TextEncoderLayer text_layer(const AdapterTensors& adapter) {
  const auto layer = parse_text_encoder_layer(adapter.module);
  if (layer) return *layer;
  throw ModelError("[" + adapter.tensors.begin()->second.name + "] expected a layer of CLIP or T5, got " +
                   adapter.module);
}

LinearLayer layer_named(const FluxConfig& config, const std::string& module) {
  for (const LinearLayer& layer : linear_layers(config)) {
    if (layer.module == module) return layer;
  }
  throw LogicError("no linear layer: " + module);
}

}  // namespace

LoraNaming parse_lora_naming(const std::string& text) {
  if (text == "kohya") return LoraNaming::kKohya;
  if (text == "peft") return LoraNaming::kPeft;
  if (text == "diffusers") return LoraNaming::kDiffusers;
  throw ConfigError("[--naming] expected kohya, peft or diffusers for a LoRA, got " + text);
}

std::vector<AdapterTensors> whole_adapters(const std::vector<AdapterTensors>& transformer, const FluxConfig& config) {
  std::map<std::string, std::vector<const AdapterTensors*>> by_module;
  for (const AdapterTensors& adapter : transformer) by_module[adapter.module].push_back(&adapter);
  std::vector<AdapterTensors> whole;
  for (const auto& [module, adapters] : by_module) {
    const AdapterTensors& first = *adapters.front();
    const int64_t out_features = layer_named(config, module).out_features;
    if (adapters.size() == 1 && sizes_of(first).out_features == out_features) {
      whole.push_back(first);
      continue;
    }
    const Pair pair = fused(adapters, out_features);
    AdapterTensors& adapter = whole.emplace_back();
    adapter.module = module;
    adapter.scale = pair.scale;
    adapter.tensors["down"] = {first.tensors.at("down").name, pair.down};
    adapter.tensors["up"] = {first.tensors.at("up").name, pair.up};
  }
  return whole;
}

TensorMap kohya_tensors(const LoraParts& parts, const FluxConfig& config) {
  TensorMap tensors;
  for (const AdapterTensors& adapter : whole_adapters(parts.transformer, config)) {
    add_kohya(tensors, kohya_name(LoraPart::kTransformer, adapter.module), adapter);
  }
  for (const AdapterTensors& adapter : parts.text_encoders) {
    const TextEncoderLayer layer = text_layer(adapter);
    add_kohya(tensors, kohya_name(layer.part, layer.module), adapter);
  }
  return tensors;
}

TensorMap diffusers_tensors(const LoraParts& parts, const FluxConfig& config) {
  TensorMap tensors;
  for (const auto& [theirs, scaled] : pairs_by_diffusers_layer(parts, config)) {
    const Pair pair = without_scale(scaled);
    tensors["transformer." + theirs + ".lora_A.weight"] = pair.down;
    tensors["transformer." + theirs + ".lora_B.weight"] = pair.up;
  }
  size_t of_t5 = 0;
  for (const AdapterTensors& adapter : parts.text_encoders) {
    const TextEncoderLayer layer = text_layer(adapter);
    if (layer.part == LoraPart::kT5) {
      ++of_t5;
      continue;
    }
    const Pair pair = without_scale(pair_of(adapter));
    tensors[diffusers_lora_name(layer) + ".down.weight"] = pair.down;
    tensors[diffusers_lora_name(layer) + ".up.weight"] = pair.up;
  }
  if (of_t5) log_warning("leaves out ", of_t5, " adapters of T5: diffusers takes none");
  return tensors;
}

TensorMap peft_tensors(const LoraParts& parts, const FluxConfig& config) {
  TensorMap tensors;
  for (const auto& [theirs, pair] : pairs_by_diffusers_layer(parts, config)) {
    tensors["base_model.model." + theirs + ".lora_A.weight"] = pair.down;
    tensors["base_model.model." + theirs + ".lora_B.weight"] = pair.up;
  }
  if (!parts.text_encoders.empty()) {
    log_warning("leaves out ", parts.text_encoders.size(),
                " adapters of text encoders: PEFT has a folder for each model");
  }
  return tensors;
}

nlohmann::ordered_json peft_config(const LoraParts& parts, const FluxConfig& config) {
  const std::map<std::string, Pair> pairs = pairs_by_diffusers_layer(parts, config);
  const Pair& first = pairs.begin()->second;
  const auto alpha_of = [](const Pair& pair) { return pair.scale * static_cast<double>(pair.rank()); };
  nlohmann::ordered_json ranks = nlohmann::ordered_json::object(), alphas = ranks;
  std::vector<std::string> names;
  for (const auto& [name, pair] : pairs) {
    names.push_back(name);
    // A pattern would also fit the end of longer names: "proj_out" of all single blocks.
    const std::string pattern = "^" + name + "$";
    if (pair.rank() != first.rank()) ranks[pattern] = pair.rank();
    if (alpha_of(pair) != alpha_of(first)) alphas[pattern] = alpha_of(pair);
  }
  return {{"peft_type", "LORA"},
          {"task_type", nullptr},
          {"base_model_name_or_path", nullptr},
          {"inference_mode", true},
          {"r", first.rank()},
          {"lora_alpha", alpha_of(first)},
          {"lora_dropout", 0.0},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"use_rslora", false},
          {"use_dora", false},
          {"rank_pattern", ranks},
          {"alpha_pattern", alphas},
          {"target_modules", "^(" + join(names, "|") + ")$"}};
}

}  // namespace millrace::flux
