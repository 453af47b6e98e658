// The one table of models: what forward, export and import need to know of each, without knowing any by name.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <torch/nn/module.h>
#include <torch/types.h>

#include "adapters/attach_adapters.h"
#include "adapters/merge_adapter.h"
#include "models/weight_change.h"
#include "models/weights.h"
#include "parallel/flat_parameters.h"

namespace millrace {

class QuantisedWeight;

// A tensor that goes into a model.
struct InputSpec {
  enum class Kind {
    kTokens,    // int64
    kFeatures,  // floating point, converted to the dtype of the computation
    kNumbers,   // floating point, always fp32: positions, times
  };
  std::string name;
  Kind kind = Kind::kFeatures;
  // One entry per dimension: a number, or a letter that means the same size wherever it occurs ("B", "L").
  std::vector<std::string> shape;
  bool optional = false;  // the pass knows what to do without it
};

struct PassResult {
  TensorMap outputs;
  // Under our names; zero for parameters that the pass does not use. None where adapters are trained in their place.
  TensorMap parameter_gradients;
  TensorMap input_gradients;  // of the floating-point inputs
};

// Returns the gradient of an output, with its shape and dtype; called once the output is known.
using OutputGradient = std::function<torch::Tensor(const torch::Tensor& output)>;

// One way to run a model; the autoencoder has two.
struct ForwardPass {
  std::string name;  // "flux", "autoencoder-encode"
  std::vector<InputSpec> inputs;
  std::vector<std::string> outputs;
  // Returns all outputs, without gradients.
  std::function<TensorMap(torch::nn::Module&, const TensorMap& inputs)> run;
  // The same, and the gradients that result from the gradient of the first output.
  std::function<PassResult(torch::nn::Module&, const TensorMap& inputs, const OutputGradient&)> run_with_gradients;
};

// A pass with gradients from autograd.
ForwardPass autograd_pass(std::string name, std::vector<InputSpec> inputs, std::vector<std::string> outputs,
                          TensorMap (*run)(torch::nn::Module&, const TensorMap& inputs));

// A model of known sizes, with or without weights.
class ModelDescription {
 public:
  virtual ~ModelDescription() = default;
  // The model with unspecified parameter values, placed as `placement` says; on the meta device, shapes only.
  virtual std::shared_ptr<torch::nn::Module> build(const FlatParametersOptions& placement) const = 0;
  // theirs: the tensors of a file to read, which decide between variants of a naming; empty when writing.
  virtual WeightRules weight_rules(Naming naming, const ShapeMap& theirs) const = 0;
  virtual std::vector<ForwardPass> passes() const = 0;
  // The config.json to write beside weights in that naming; nullopt if such files have none.
  virtual std::optional<std::string> config_json(Naming naming) const = 0;

  // The adapters of a file, their modules named as adaptable_layers() does. Throws ConfigError for a model that takes
  // none, ModelError for a file that is not for it.
  virtual std::vector<AdapterTensors> read_adapters(const std::filesystem::path& file) const;
  // Those of a run's adapters that are this model's, as read_adapters() gives those of a file. Others, of models around
  // it, are left out with a note.
  virtual std::vector<AdapterTensors> adapters_of_run(std::vector<AdapterTensors> adapters) const { return adapters; }
  // The layers of a module from build() that an adapter may be put on: all its linear ones.
  virtual LinearLayers adaptable_layers(torch::nn::Module& module) const;

  ShapeMap shapes() const;  // of the parameters, under our names
};

struct ModelEntry {
  const char* name;                 // "flux", "autoencoder", "clip", "t5"
  std::vector<std::string> passes;  // its names for `forward`
  std::vector<Naming> namings;      // the namings it can be read and written in
  IgnorableNames ignorable;         // tensors in its files that it does not need
  // Prefix of its names in files that also hold other models, whose tensors are skipped; "": no such files.
  const char* prefix;
  Naming (*detect_naming)(const ShapeMap& theirs, const std::string& place);
  // place: the file the sizes come from, for messages
  std::unique_ptr<ModelDescription> (*from_json)(const nlohmann::json& json, const std::string& place);
  std::unique_ptr<ModelDescription> (*from_shapes)(const ShapeMap& theirs, Naming naming, const std::string& place);
};

std::span<const ModelEntry> model_table();
const ModelEntry& find_model(std::string_view name);          // throws ConfigError naming the nearest
const ModelEntry& find_model_of_pass(std::string_view pass);  // the same for "autoencoder-encode" and other passes
SaveWeightsOptions save_options(Naming naming);               // with the file name that programs of that naming expect

// Weights on disk that were recognised as a model's.
class ModelWeights {
 public:
  // config: a .json or .toml file; without one, the config.json in a folder of weights, else the tensors' shapes.
  // Throws ModelError when the weights are not the model's, ConfigError when config cannot be read.
  ModelWeights(const ModelEntry& entry, const std::filesystem::path& path,
               const std::optional<std::filesystem::path>& config = std::nullopt);

  const ModelDescription& model() const { return *model_; }
  Naming naming() const { return naming_; }
  const WeightRules& rules() const { return rules_; }
  const WeightStore& store() const { return store_; }

  // The model with these weights, converted, its large matrices stored as placement.base_storage says: each is read,
  // stored and released before the next, so that memory holds the stored model and at most one tensor. Its parameters
  // require no gradient. If sharded over placement.mesh, a rank reads only its own part of the files; the autoencoder
  // is whole on every rank. change: of a flat model's tensors on the way (models/quantised_load.h).
  std::shared_ptr<torch::nn::Module> load(const FlatParametersOptions& placement,
                                          const WeightChange& change = {}) const;
  std::shared_ptr<torch::nn::Module> load(torch::ScalarType dtype, torch::Device device) const;
  // The same into a flat model of these sizes, which was built with this placement.
  void load_into(torch::nn::Module& module, const FlatParametersOptions& placement,
                 const WeightChange& change = {}) const;
  // The memory of every quantised matrix of such a model, if it is stored in the blocks of these weights.
  std::map<const QuantisedWeight*, int64_t> bytes_in_blocks(torch::nn::Module& module, torch::Dtype compute_dtype,
                                                            const WeightChange& change = {}) const;
  // The weights under our names, in the file's dtypes, bit for bit.
  TensorMap import() const;
  // The same one at a time, for models larger than memory: first shapes and dtypes, as meta tensors.
  TensorMap import_shapes() const;
  torch::Tensor import(const std::string& ours) const;
  void release(const std::string& ours) const;  // takes its bytes out of memory until they are wanted again

 private:
  // Whether these are the bytes themselves of a parameter in one piece, and not numbers made of them.
  bool lies_in_file(const std::string& ours, const torch::Tensor& values) const;

  const ModelEntry& entry_;
  WeightStore store_;
  ShapeMap theirs_;
  Naming naming_;
  std::unique_ptr<ModelDescription> model_;
  WeightRules rules_;
  std::map<std::string, WeightRules> rules_of_;  // by our name
};

// Throws ModelError, naming a tensor of lora.base_weights, for adapters of layers that the model does not have.
void check_merged(const AdapterMerger& merger, const ModelWeights& weights);
// The weights with its adapters in them. It must live as long.
WeightChange merging(const AdapterMerger& merger);

}  // namespace millrace
