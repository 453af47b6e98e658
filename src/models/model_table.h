// The one table of models: what forward, export and import need to know of each, without knowing any by name.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <torch/nn/module.h>
#include <torch/types.h>

#include "models/weights.h"
#include "parallel/flat_parameters.h"

namespace millrace {

// A tensor that goes into a model.
struct InputSpec {
  enum class Kind {
    kTokens,    // int64
    kFeatures,  // floating point, converted to the dtype of the computation
    kNumbers,   // floating point, always fp32: positions, times
  };
  std::string name;
  Kind kind = Kind::kFeatures;
  // One entry per dimension: a number, or a letter that stands for the same size wherever it occurs ("B", "L").
  std::vector<std::string> shape;
};

struct PassResult {
  TensorMap outputs;
  TensorMap parameter_gradients;  // under our names; zero for parameters that the pass does not use
  TensorMap input_gradients;      // of the floating-point inputs
};

// The gradient that belongs to an output, shaped and typed like it; asked for once the output is known.
using OutputGradient = std::function<torch::Tensor(const torch::Tensor& output)>;

// One way to run a model: the autoencoder has two.
struct ForwardPass {
  std::string name;  // "flux", "autoencoder-encode"
  std::vector<InputSpec> inputs;
  std::vector<std::string> outputs;
  // Gives all outputs, without gradients.
  std::function<TensorMap(torch::nn::Module&, const TensorMap& inputs)> run;
  // The same, and the gradients that follow from that of the first output.
  std::function<PassResult(torch::nn::Module&, const TensorMap& inputs, const OutputGradient&)> run_with_gradients;
};

// A pass whose gradients come from autograd.
ForwardPass autograd_pass(std::string name, std::vector<InputSpec> inputs, std::vector<std::string> outputs,
                          TensorMap (*run)(torch::nn::Module&, const TensorMap& inputs));

// A model of known sizes, with or without weights.
class ModelDescription {
 public:
  virtual ~ModelDescription() = default;
  // The model with parameters of no particular value, of that dtype, there; on the meta device, shapes only.
  virtual std::shared_ptr<torch::nn::Module> build(const FlatParametersOptions& placement) const = 0;
  // theirs: the tensors of a file to be read, which decide between variants of a naming; empty when writing.
  virtual WeightRules weight_rules(Naming naming, const ShapeMap& theirs) const = 0;
  virtual std::vector<ForwardPass> passes() const = 0;
  // The config.json that belongs beside weights in that naming; none where such files have none.
  virtual std::optional<std::string> config_json(Naming naming) const = 0;

  ShapeMap shapes() const;  // of the parameters, under our names
};

struct ModelEntry {
  const char* name;                 // "flux", "autoencoder", "clip", "t5"
  std::vector<std::string> passes;  // what `forward` calls it
  std::vector<Naming> namings;      // what it can be read and written as
  IgnorableNames ignorable;         // tensors of its files that it does not need
  // Before all of its names in files that hold other models too, whose tensors are passed over; "": no such files.
  const char* prefix;
  Naming (*detect_naming)(const ShapeMap& theirs, const std::string& place);
  // place: the file the sizes come from, for messages
  std::unique_ptr<ModelDescription> (*from_json)(const nlohmann::json& json, const std::string& place);
  std::unique_ptr<ModelDescription> (*from_shapes)(const ShapeMap& theirs, Naming naming, const std::string& place);
};

std::span<const ModelEntry> model_table();
const ModelEntry& find_model(std::string_view name);          // throws ConfigError naming the nearest
const ModelEntry& find_model_of_pass(std::string_view pass);  // the same for "autoencoder-encode" and the like
SaveWeightsOptions save_options(Naming naming);  // with the file name that programs of that naming look for

// Weights on disk that a model recognised as its own.
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
  // stored and let go before the next, so that memory holds the model as stored and one tensor at most. Its parameters
  // require no gradient. Sharded over placement.mesh, a rank reads its own part of the files alone; the autoencoder is
  // whole on every rank.
  std::shared_ptr<torch::nn::Module> load(const FlatParametersOptions& placement) const;
  std::shared_ptr<torch::nn::Module> load(torch::ScalarType dtype, torch::Device device) const;
  // The weights under our names, in the file's dtypes, bit for bit.
  TensorMap import() const;

 private:
  const ModelEntry& entry_;
  WeightStore store_;
  ShapeMap theirs_;
  Naming naming_;
  std::unique_ptr<ModelDescription> model_;
  WeightRules rules_;
};

}  // namespace millrace
