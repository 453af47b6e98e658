// Which parameters of FLUX are gathered, recomputed and reduced together, and the modulations' shared matrices.
#include <limits>

#include "base/log.h"
#include "base/text.h"
#include "models/flux/final_layer.h"
#include "models/flux/model.h"
#include "models/flux/shard_plan.h"
#include "nn/quantised_weight.h"

namespace millrace::flux {
namespace {

int64_t size_of(const UnitSpec& unit) {
  int64_t size = 0;
  for (const auto& [name, tensor] : unit.parameters) size += tensor.numel();
  for (const QuantisedWeight* weight : unit.quantised) size += weight->in_features() * weight->out_features();
  return size;
}

// A layer, by its name in its block, that belongs to a modulation unit.
bool is_modulation(const std::string& name) {
  return ends_with(name, "_mod.lin") || name == "modulation.lin";
}

}  // namespace

std::vector<UnitSpec> Flux::unit_specs(bool sharded, int64_t offload_blocks) {
  UnitSpec embedders{"embedders", {}}, last{"final_layer", {}};
  for (const auto& item : named_parameters()) {
    const std::string& name = item.key();
    const bool in_block = starts_with(name, "double_blocks.") || starts_with(name, "single_blocks.");
    if (starts_with(name, "final_layer.linear.")) last.parameters.emplace_back(name, item.value());
    if (!in_block && !starts_with(name, "final_layer.")) embedders.parameters.emplace_back(name, item.value());
  }
  std::vector<UnitSpec> blocks;
  int64_t largest = size_of(embedders);
  const int64_t num_blocks = config_.depth + config_.depth_single_blocks;
  const auto add_block = [&](const std::string& prefix, auto& block) {
    UnitSpec unit{prefix, {}};
    unit.offloaded = lies_on_host(static_cast<int64_t>(blocks.size()), num_blocks, offload_blocks);
    for (const auto& [name, weight] : quantised_weights(block)) {
      if (!is_modulation(name)) unit.quantised.push_back(weight);
    }
    for (const auto& [name, tensor] : block.unit_parameters()) {
      unit.parameters.emplace_back(prefix + "." + name, tensor);
      unit.splits.push_back(tensor_split(config_, prefix + "." + name));
    }
    largest = std::max(largest, size_of(unit));
    blocks.push_back(std::move(unit));
  };
  for (size_t i = 0; i < double_blocks_.size(); ++i) add_block(str("double_blocks.", i), *double_blocks_[i]);
  for (size_t i = 0; i < single_blocks_.size(); ++i) add_block(str("single_blocks.", i), *single_blocks_[i]);

  // In the order of use.
  std::vector<UnitSpec> specs = {embedders};
  const bool in_parts = sharded || offload_blocks > 0;
  add_modulation_units(specs, in_parts ? largest : std::numeric_limits<int64_t>::max());
  first_block_unit_ = specs.size();
  // The same share of them as of the blocks.
  for (size_t i = 0; i < modulations_.size(); ++i) {
    specs[modulations_[i].unit].offloaded = lies_on_host(static_cast<int64_t>(i), num_blocks, offload_blocks);
  }
  for (UnitSpec& block : blocks) specs.push_back(std::move(block));
  specs.push_back(last);
  return specs;
}

void Flux::add_modulation_units(std::vector<UnitSpec>& specs, int64_t max_size) {
  std::vector<std::pair<std::string, std::shared_ptr<Linear>>> all;  // in the order of modulation_begin
  for (size_t i = 0; i < double_blocks_.size(); ++i) {
    all.emplace_back(str("double_blocks.", i, ".img_mod.lin"), double_blocks_[i]->img_mod->lin);
    all.emplace_back(str("double_blocks.", i, ".txt_mod.lin"), double_blocks_[i]->txt_mod->lin);
  }
  for (size_t i = 0; i < single_blocks_.size(); ++i) {
    all.emplace_back(str("single_blocks.", i, ".modulation.lin"), single_blocks_[i]->modulation->lin);
  }
  all.emplace_back("final_layer.adaLN_modulation.1", final_layer_->modulation);

  int64_t column = 0;
  for (size_t begin = 0; begin < all.size();) {
    UnitSpec unit{all.size() > 1 && max_size < std::numeric_limits<int64_t>::max()
                      ? str("modulation.", modulations_.size())
                      : "modulation",
                  {},
                  /*packed=*/true};
    // As many layers as max_size allows, at least one. Packed, with all weights before all biases, so that JointLinear
    // finds one matrix and one bias.
    const auto size_of_layer = [&](size_t i) { return all[i].second->in_features() * all[i].second->out_features(); };
    std::vector<std::shared_ptr<Linear>> layers;
    size_t end = begin;
    int64_t size = 0;
    do {
      size += size_of_layer(end) + all[end].second->out_features();
      layers.push_back(all[end].second);
      ++end;
    } while (end < all.size() && size + size_of_layer(end) <= max_size);
    for (size_t i = begin; i < end; ++i) {
      LinearWeight& weight = all[i].second->weight();
      for (const auto& [name, tensor] : weight.tensors()) {
        unit.parameters.emplace_back(all[i].first + "." + name, tensor);
      }
      if (auto* quantised = dynamic_cast<QuantisedWeight*>(&weight)) unit.quantised.push_back(quantised);
    }
    for (size_t i = begin; i < end; ++i) unit.parameters.emplace_back(all[i].first + ".bias", all[i].second->bias());
    modulations_.push_back({specs.size(), column, JointLinear(std::move(layers))});
    column += modulations_.back().joint.out_features();
    specs.push_back(std::move(unit));
    begin = end;
  }
}

torch::Tensor Flux::modulate(const torch::Tensor& activated_vec_BD, bool keep) {
  std::vector<torch::Tensor> parts;
  for (const ModulationUnit& modulation : modulations_) {
    const UnitUse use = flat_->forward_unit(modulation.unit, keep);
    parts.push_back(modulation.joint.apply(activated_vec_BD));
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts, 1);
}

torch::Tensor Flux::backward_modulation(const Saved& saved, bool wants_dvec) {
  torch::Tensor dactivated_BD;
  for (size_t i = modulations_.size(); i-- > 0;) {
    ModulationUnit& modulation = modulations_[i];
    const UnitUse use = flat_->backward_unit(modulation.unit);
    const torch::Tensor dout_BM =
        saved.context.dmodulation_BM.narrow(1, modulation.begin, modulation.joint.out_features()).contiguous();
    const torch::Tensor part_BD = modulation.joint.backward(dout_BM, saved.activated_vec_BD, wants_dvec);
    if (!wants_dvec || modulations_.size() == 1) {
      dactivated_BD = part_BD;
    } else {  // sums over units in fp32, so that splitting loses nothing
      dactivated_BD =
          dactivated_BD.defined() ? dactivated_BD.add_(part_BD) : part_BD.to(torch::kFloat32, false, /*copy=*/true);
    }
  }
  if (!wants_dvec) return {};
  return at::silu_backward(dactivated_BD.to(saved.vec_BD.scalar_type()), saved.vec_BD);
}

}  // namespace millrace::flux
