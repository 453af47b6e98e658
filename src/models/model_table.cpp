#include "models/model_table.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/mesh.h"
#include "formats/json.h"
#include "models/autoencoder/entry.h"
#include "models/clip/entry.h"
#include "models/config_reader.h"
#include "models/flux/entry.h"
#include "models/llama/entry.h"
#include "models/quantised_load.h"
#include "models/t5/entry.h"
#include "nn/quantised_io.h"
#include "nn/quantised_weight.h"
#include "parallel/flat_model.h"

namespace millrace {
namespace {

[[noreturn]] void fail_unknown(std::string_view name, const std::vector<std::string>& known) {
  const std::string near = nearest(name, known);
  throw ConfigError("[model] expected one of " + join(known, ", ") + ", got " + std::string(name) +
                    (near.empty() ? "" : " (try " + near + ")"));
}

// A folder of weights, or the index in one, has a config.json with the sizes.
std::optional<std::filesystem::path> config_beside(const std::filesystem::path& weights) {
  const bool is_folder = std::filesystem::is_directory(weights);
  if (!is_folder && weights.extension() != ".json") return std::nullopt;
  const std::filesystem::path config = (is_folder ? weights : weights.parent_path()) / "config.json";
  if (!std::filesystem::is_regular_file(config)) return std::nullopt;
  return config;
}

}  // namespace

ShapeMap ModelDescription::shapes() const {
  return shapes_of(*build(FlatParametersOptions{.device = torch::kMeta}));
}

std::span<const ModelEntry> model_table() {
  static const std::vector<ModelEntry> table = {flux::entry(), autoencoder::entry(), clip::entry(), t5::entry(),
                                                llama::entry()};
  return table;
}

const ModelEntry& find_model(std::string_view name) {
  std::vector<std::string> known;
  for (const ModelEntry& entry : model_table()) {
    if (entry.name == name) return entry;
    known.emplace_back(entry.name);
  }
  fail_unknown(name, known);
}

const ModelEntry& find_model_of_pass(std::string_view pass) {
  std::vector<std::string> known;
  for (const ModelEntry& entry : model_table()) {
    if (std::find(entry.passes.begin(), entry.passes.end(), pass) != entry.passes.end()) return entry;
    known.insert(known.end(), entry.passes.begin(), entry.passes.end());
  }
  fail_unknown(pass, known);
}

SaveWeightsOptions save_options(Naming naming) {
  SaveWeightsOptions options;
  if (naming == Naming::kDiffusers) options.base_name = "diffusion_pytorch_model";
  return options;
}

ModelWeights::ModelWeights(const ModelEntry& entry, const std::filesystem::path& path,
                           const std::optional<std::filesystem::path>& config)
    : entry_(entry), store_(path) {
  const size_t num_tensors = store_.tensors().size();
  if (*entry.prefix) store_.narrow_to(entry.prefix);
  if (const size_t others = num_tensors - store_.tensors().size(); others > 0) {
    log_info(path.string(), ": takes the ", store_.tensors().size(), " tensors named ", entry.prefix,
             "*, and none of the ", others, " others");
  }
  theirs_ = shapes_of(store_);
  naming_ = entry.detect_naming(theirs_, path.string());
  const std::optional<std::filesystem::path> config_path = config ? config : config_beside(path);
  if (config_path) {
    model_ = entry.from_json(read_config_file(*config_path), config_path->string());
  } else if (store_.config_json()) {
    model_ = entry.from_json(parse_json<ModelError>(*store_.config_json(), path.string()), path.string());
  } else {
    model_ = entry.from_shapes(theirs_, naming_, path.string());
  }
  rules_ = model_->weight_rules(naming_, theirs_);
  check_weights(entry.name, model_->shapes(), store_, rules_, entry.ignorable);
  rules_of_ = rules_by_parameter(rules_);
}

std::shared_ptr<torch::nn::Module> ModelWeights::load(torch::ScalarType dtype, torch::Device device) const {
  return load(FlatParametersOptions{.compute_dtype = dtype, .device = device});
}

std::shared_ptr<torch::nn::Module> ModelWeights::load(const FlatParametersOptions& placement,
                                                      const WeightChange& change) const {
  if (placement.base_storage != BaseStorage::kDense && placement.mesh && placement.mesh->shape().tp > 1) {
    throw ConfigError(
        str("[base storage] expected dense under tensor parallelism, got ", base_storage_name(placement.base_storage)));
  }
  std::shared_ptr<torch::nn::Module> module = model_->build(placement);
  if (placement.base_storage != BaseStorage::kDense && quantised_weights(*module).empty()) {
    throw ConfigError(
        str("[base storage] expected dense for ", entry_.name, ", got ", base_storage_name(placement.base_storage)));
  }
  for (torch::Tensor& parameter : module->parameters()) parameter.set_requires_grad(false);
  if (dynamic_cast<FlatModel*>(module.get()) != nullptr) {
    load_into(*module, placement, change);
  } else {
    MILLRACE_CHECK(!change.concerns);
    load_weights(*module, store_, rules_, entry_.ignorable);
  }
  module->eval();
  return module;
}

void ModelWeights::load_into(torch::nn::Module& module, const FlatParametersOptions& placement,
                             const WeightChange& change) const {
  FlatParameters& flat = dynamic_cast<FlatModel&>(module).flat_parameters();
  for (const ParameterSlice& slice : flat.slices()) {
    if (!flat.owns(slice)) continue;
    const torch::Tensor values = change.changed(slice.name, import(slice.name));
    const bool rounds = placement.base_storage == BaseStorage::kFp8Unscaled;
    if (placement.maps_weights && !rounds && lies_in_file(slice.name, values) && flat.adopt(slice, values)) {
      expect_mapped(store_.find(rules_of_.at(slice.name).front().theirs)->bytes);
      continue;
    }
    flat.assign(slice, rounds ? rounded_to_fp8(values) : values);
    release(slice.name);  // two copies of an encoder should not count as this process's memory
  }
  flat.refresh_compute();
  load_quantised(module, store_, rules_of_, placement, change);
}

std::map<const QuantisedWeight*, int64_t> ModelWeights::bytes_in_blocks(torch::nn::Module& module,
                                                                        torch::Dtype compute_dtype,
                                                                        const WeightChange& change) const {
  return millrace::bytes_in_blocks(module, store_, rules_of_, compute_dtype, change);
}

TensorMap ModelWeights::import() const {
  return import_weights(entry_.name, model_->shapes(), store_, rules_, entry_.ignorable);
}

TensorMap ModelWeights::import_shapes() const {
  TensorMap shapes;
  for (const auto& [name, shape] : model_->shapes()) {
    const torch::ScalarType dtype = to_scalar_type(store_.find(rules_of_.at(name).front().theirs)->dtype);
    shapes[name] = torch::empty(shape, torch::TensorOptions(torch::kMeta).dtype(dtype));
  }
  return shapes;
}

torch::Tensor ModelWeights::import(const std::string& ours) const {
  return import_tensor(store_, rules_of_.at(ours));
}

bool ModelWeights::lies_in_file(const std::string& ours, const torch::Tensor& values) const {
  const WeightRules& rules = rules_of_.at(ours);
  return rules.size() == 1 && values.is_cpu() &&
         values.const_data_ptr() == static_cast<const void*>(store_.find(rules.front().theirs)->bytes.data());
}

void ModelWeights::release(const std::string& ours) const {
  for (const WeightRule& rule : rules_of_.at(ours)) release_mapped(store_.find(rule.theirs)->bytes);
}

void check_merged(const AdapterMerger& merger, const ModelWeights& weights) {
  const ShapeMap shapes = weights.model().shapes();
  for (const auto& [weight, in_file] : merger.weights()) {
    if (shapes.contains(weight)) continue;
    throw ModelError("[lora.base_weights: " + in_file + "] expected adapters of layers of " +
                     weights.store().path().string() + ", got one for " + weight);
  }
}

WeightChange merging(const AdapterMerger& merger) {
  return {.concerns = [&merger](const std::string& name) { return merger.has(name); },
          .change = [&merger](const std::string& name,
                              const torch::Tensor& weight) { return merger.merged(name, weight); }};
}

}  // namespace millrace
