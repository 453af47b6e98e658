// The adapters of a run on the layers of a frozen model, whichever it is: their parameters, where they lie, what they
// start from, and what happens to them before and after a step.
//
// The matrices of an adapted layer are named <layer>.<role>: <layer>.down [R, K] and <layer>.up [N, R] of LoRA; see
// adapters/adapter_kind.h for the others. Those of one learning rate follow each other.
//
// On several ranks the model is sharded like any other, unit by unit; the adapters are one unit of their own, which is
// gathered for a whole pass and reduced once at its end: at rank 16 they have 1/150 of FLUX.1's parameters.
//
// With tensor parallelism, an adapter is split as its layer is: of a layer split by outputs, up and magnitude by
// theirs; of one split by inputs, down. The other matrix is whole on every rank, and its gradient is a sum over the
// ranks (partial_gradients()).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapters/adapter_dropout.h"
#include "adapters/configured_adapter.h"
#include "adapters/lora_options.h"
#include "adapters/max_norm.h"
#include "nn/tensor_io.h"
#include "optim/rate_group.h"
#include "parallel/flat_parameters.h"
#include "parallel/partial_gradients.h"

namespace millrace {

struct AdaptableLayer {
  std::string name;
  std::shared_ptr<Linear> linear;
  TensorSplit split = {};  // of its weight by tensor parallelism; whole where the model does not say
  double lr_factor = 1;    // times that of lora.lr_patterns
  std::optional<double> loraplus_ratio = {};
  // Its outputs one after the other, each with an adapter of its own, <name>.<part>; empty: one adapter for all.
  struct Part {
    const char* name;
    int64_t size;
  };
  std::vector<Part> parts = {};
};

// A frozen model under the adapters, and what is in front of its tensors' names in those of its layers.
struct AdaptedBase {
  std::string prefix;
  FlatParameters* weights = nullptr;
};

class AdapterSet {
 public:
  // layers: those that lora.targets chooses, in the model's order. placement: of the adapters. Throws ConfigError for
  // patterns that decide about no layer, where no layer has a rank, or a rate, above 0, and on a tensor-parallel mesh
  // for a layer without a split.
  AdapterSet(const LoraConfig& config, const std::vector<AdaptableLayer>& layers,
             const FlatParametersOptions& placement);

  FlatParameters& parameters() { return *parameters_; }
  const std::vector<RateGroup>& rate_groups() const { return rate_groups_; }  // as Task::rate_groups()
  size_t num_layers() const { return adapted_.size(); }
  bool has_layer(const std::string& name) const;  // with the part's name, of layers in parts

  // The adapters have memory while it lives: around a forward pass, and around its backward pass.
  UnitUse forward_use(bool keep) { return parameters_->forward_unit(0, keep); }
  UnitUse backward_use() { return parameters_->backward_unit(0); }

  // To be made before a backward pass, within backward_use(), and finished after it.
  PartialGradients partial_gradients() { return {tp_, partial_}; }

  // Around the two passes of a microbatch; samples: its rows.
  void start_training_pass(const DropoutSamples& samples);
  void end_training_pass();
  // From here to end_input_dropout(), lora.dropout is of what the adapters read (adapters/input_dropout.h), as language
  // models are trained. pass: names the random numbers; ranks that share layers give the same.
  void start_input_dropout(uint64_t pass);
  void end_input_dropout();
  // After a step: limits the norms of what the adapters add, where lora.scale_weight_norms says so.
  void weights_changed();
  // What the last weights_changed() found and limited; none without lora.scale_weight_norms. The same on every rank.
  const std::optional<MaxNormResult>& limited_norms() const { return limited_norms_; }

  // Of LoRA: adapters/gradient_norm.h for gradients of parameters()' layout, of which each rank has its part. Other
  // kinds have none. Collective, the same on every rank.
  std::optional<double> mean_gradient_norm(const torch::Tensor& grad);

  // Values that belong to the seed and the parameter's name. bases: the frozen models, whose rows DoRA's magnitudes are
  // the norms of.
  void initialize(uint64_t seed, const std::vector<AdaptedBase>& bases);
  void initialize(uint64_t seed, FlatParameters& base) { initialize(seed, {{"", &base}}); }
  // Values by layer and role instead. file: where they are from, for messages. Throws ModelError for values of other
  // layers or shapes; layers that the file lacks keep theirs.
  void start_from(const std::map<std::string, TensorMap>& layers, const std::filesystem::path& file);

  // How much the adapters add from now on; 0 nothing, 1 what was trained.
  void set_strength(double strength);

 private:
  struct Adapted {
    std::string layer;  // with the part's name
    double lr_factor = 1, loraplus_ratio = 1;
    std::shared_ptr<Linear> linear;
    std::shared_ptr<ModuleAdapter> adapter;
    TensorSplit split;
    bool is_split_by_inputs() const { return split.dim == 1; }
  };

  void attach(const std::vector<AdaptableLayer>& layers);
  void place(const FlatParametersOptions& placement);
  std::vector<AdaptedLayer> loras() const;
  void initialize_magnitudes(const std::vector<AdaptedBase>& bases);
  void attach_parts(const AdaptableLayer& layer, int64_t rank, double lr_factor);

  LoraConfig config_;
  LoraScales scales_;
  Group* tp_ = nullptr;     // null: one rank
  Group* shard_ = nullptr;  // that each have a part of the adapters; null: one rank
  std::vector<Adapted> adapted_;
  std::vector<torch::Tensor> partial_;  // parameters to whose gradients each rank adds a share
  std::vector<RateGroup> rate_groups_;
  std::unique_ptr<FlatParameters> parameters_;
  std::optional<MaxNormResult> limited_norms_;
};

// The frozen model's placement beside adapters': not trained, and stored as lora.base_dtype says. Throws ConfigError
// for another storage than dense on a tensor-parallel mesh.
FlatParametersOptions frozen_placement(FlatParametersOptions placement, const LoraConfig& config);

// adapters, which are of the layers' whole matrices, as AdapterSet::start_from() takes them: by layer and role, fp32,
// with the effect that they have in the file: where its scale is not the configuration's, one matrix of each adapter
// makes up for it. Throws ModelError for adapters of another kind. place: the file, for messages.
std::map<std::string, TensorMap> initial_values(const std::vector<AdapterTensors>& adapters, const LoraConfig& config,
                                                const std::string& place);

}  // namespace millrace
