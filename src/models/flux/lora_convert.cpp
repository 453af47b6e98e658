#include "models/flux/lora_convert.h"

#include <algorithm>
#include <set>

#include "adapters/kohya_file.h"
#include "adapters/low_rank.h"
#include "adapters/read_adapters.h"
#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/python_float.h"
#include "base/text.h"
#include "models/flux/lora_peft.h"

namespace millrace::flux {
namespace {

TensorMap converted(TensorMap tensors, std::optional<torch::ScalarType> dtype) {
  for (auto& [name, tensor] : tensors) {
    if (dtype) tensor = tensor.to(*dtype);
    tensor = tensor.contiguous();
  }
  return tensors;
}

std::filesystem::path file_in(const LoraOutput& output, const char* name) {
  if (output.path.extension() == ".safetensors") return output.path;
  create_folders(output.path);
  return output.path / name;
}

// By which programs recognise a LoRA of FLUX. One number for rank and alpha where all modules agree, else "Dynamic".
void add_basic_metadata(SafetensorsMetadata& metadata, const TensorMap& tensors, bool keeps_rank) {
  std::set<std::string> ranks, alphas;
  for (const auto& [name, tensor] : tensors) {
    if (ends_with(name, ".lora_down.weight")) ranks.insert(std::to_string(tensor.size(0)));
    if (ends_with(name, ".alpha")) alphas.insert(python_float(tensor.item<double>()));
  }
  const auto one_of = [](const std::set<std::string>& values) {
    return values.size() == 1 ? *values.begin() : "Dynamic";
  };
  // Of other kinds the configuration says them, if any does.
  if (!ranks.empty() && !keeps_rank) {
    metadata["ss_network_dim"] = one_of(ranks);
    metadata["ss_network_alpha"] = one_of(alphas);
  }
  metadata.emplace("ss_network_module", "networks.lora_flux");
  metadata.emplace("ss_base_model_version", "flux1");
  metadata.emplace("ss_v2", "False");
}

LoraNaming naming_of(const WeightStore& file) {
  const auto& tensors = file.tensors();
  const auto holds = [&](const char* text) {
    return std::any_of(tensors.begin(), tensors.end(),
                       [&](const TensorView& tensor) { return tensor.name.find(text) != std::string::npos; });
  };
  return holds("lora_unet_") || holds("lora_te") ? LoraNaming::kKohya
         : holds("base_model.model.")            ? LoraNaming::kPeft
                                                 : LoraNaming::kDiffusers;
}

void resize(std::vector<AdapterTensors>& adapters, int64_t rank) {
  for (AdapterTensors& adapter : adapters) {
    if (adapter.kind != AdapterKind::kLora) {
      throw ModelError("[" + adapter.tensors.begin()->second.name +
                       "] expected LoRA to change the rank of, got an adapter of another kind");
    }
    torch::Tensor &down = adapter.tensors.at("down").values, &up = adapter.tensors.at("up").values;
    const torch::ScalarType dtype = down.scalar_type();
    const LowRank nearest = nearest_of_rank(down, up, rank);
    down = nearest.down_RK.to(dtype);
    up = nearest.up_NR.to(dtype);
  }
}

}  // namespace

size_t write_lora(const LoraParts& parts, const FluxConfig& config, LoraOutput output) {
  switch (output.naming) {
    case LoraNaming::kKohya: {
      const TensorMap tensors = kohya_tensors(parts, config);
      add_basic_metadata(output.metadata, tensors, output.keeps_rank);
      write_kohya_file(file_in(output, "lora.safetensors"), tensors, output.dtype, std::move(output.metadata));
      return tensors.size();
    }
    case LoraNaming::kDiffusers: {
      const TensorMap tensors = converted(diffusers_tensors(parts, config), output.dtype);
      save_tensors(file_in(output, "pytorch_lora_weights.safetensors"), tensors, {{"format", "pt"}});
      return tensors.size();
    }
    case LoraNaming::kPeft: {
      if (output.path.extension() == ".safetensors") {
        throw ConfigError("[" + output.path.string() +
                          "] expected a folder for PEFT's two files, got a file (try a name without .safetensors)");
      }
      const PeftFolder folder = peft_folder(parts, config);
      const TensorMap tensors = converted(folder.tensors, output.dtype);
      save_tensors(file_in(output, "adapter_model.safetensors"), tensors, {{"format", "pt"}});
      write_file_atomically(output.path / "adapter_config.json", folder.config.dump(2) + "\n");
      return tensors.size();
    }
  }
  throw LogicError("a LoRA of no naming");
}

size_t convert_lora(const WeightStore& file, std::optional<LoraNaming> naming, std::optional<int64_t> rank,
                    LoraOutput output) {
  std::vector<AdapterTensors> in_file = read_adapters(file);
  const FluxConfig config = config_from_adapters(in_file);
  LoraParts parts = sort_adapters(std::move(in_file), config, file.path().string());
  if (rank) {
    resize(parts.transformer, *rank);
    resize(parts.text_encoders, *rank);
  }
  output.naming = naming.value_or(naming_of(file));
  for (const auto& [key, value] : file.metadata()) {  // hashes are of the file that they were in
    if (starts_with(key, "ss_") || starts_with(key, "modelspec.")) output.metadata.emplace(key, value);
  }
  return write_lora(parts, config, std::move(output));
}

LoraParts extract_lora(const ModelWeights& tuned, const ModelWeights& base, int64_t rank) {
  const TensorMap shapes = tuned.import_shapes(), base_shapes = base.import_shapes();
  if (shapes_of(shapes) != shapes_of(base_shapes)) {
    throw ModelError("[" + base.store().path().string() + "] expected the sizes of " + tuned.store().path().string());
  }
  std::shared_ptr<torch::nn::Module> layout = tuned.model().build({.device = torch::kMeta});
  const LinearLayers layers = tuned.model().adaptable_layers(*layout);
  LoraParts parts;
  std::vector<std::string> others;
  for (const auto& [name, shape] : shapes) {
    const torch::Tensor own = tuned.import(name), origin = base.import(name);
    const torch::Tensor difference = own.to(torch::kFloat32) - origin.to(torch::kFloat32);
    tuned.release(name);
    base.release(name);
    if (difference.count_nonzero().item<int64_t>() == 0) continue;
    const std::string module = ends_with(name, ".weight") ? name.substr(0, name.size() - 7) : "";
    if (!layers.count(module)) {
      others.push_back(name);
      continue;
    }
    LowRank nearest = nearest_of_rank(difference, rank);
    AdapterTensors adapter;
    adapter.module = module;
    adapter.tensors["down"] = {module, nearest.down_RK.to(own.scalar_type())};
    adapter.tensors["up"] = {module, nearest.up_NR.to(own.scalar_type())};
    parts.transformer.push_back(std::move(adapter));
  }
  const std::string place = tuned.store().path().string();
  if (parts.transformer.empty()) {
    throw ModelError("[" + place + "] expected weights that differ from " + base.store().path().string() +
                     ", got the same");
  }
  if (!others.empty()) {
    log_warning(place, ": leaves out ", others.size(), " tensors that differ and that a LoRA cannot hold, such as ",
                others.front());
  }
  return parts;
}

}  // namespace millrace::flux
