// Which parameters of FLUX are gathered, recomputed and reduced together, and the modulations' shared matrices.
#include <limits>

#include "base/log.h"
#include "base/text.h"
#include "models/flux/final_layer.h"
#include "models/flux/model.h"
#include "models/flux/shard_plan.h"
#include "nn/gemm.h"

namespace millrace::flux {
namespace {

int64_t size_of(const UnitSpec& unit) {
  int64_t size = 0;
  for (const auto& [name, tensor] : unit.parameters) size += tensor.numel();
  return size;
}

}  // namespace

std::vector<UnitSpec> Flux::unit_specs(bool sharded) {
  UnitSpec embedders{"embedders", {}}, last{"final_layer", {}};
  for (const auto& item : named_parameters()) {
    const std::string& name = item.key();
    const bool in_block = starts_with(name, "double_blocks.") || starts_with(name, "single_blocks.");
    if (starts_with(name, "final_layer.linear.")) last.parameters.emplace_back(name, item.value());
    if (!in_block && !starts_with(name, "final_layer.")) embedders.parameters.emplace_back(name, item.value());
  }
  std::vector<UnitSpec> blocks;
  int64_t largest = size_of(embedders);
  const auto add_block = [&](const std::string& prefix, const auto& block) {
    UnitSpec unit{prefix, {}};
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
  add_modulation_units(specs, sharded ? largest : std::numeric_limits<int64_t>::max());
  first_block_unit_ = specs.size();
  for (UnitSpec& block : blocks) specs.push_back(std::move(block));
  specs.push_back(last);
  return specs;
}

void Flux::add_modulation_units(std::vector<UnitSpec>& specs, int64_t max_size) {
  std::vector<std::pair<std::string, Linear*>> all;  // in the order of modulation_begin
  for (size_t i = 0; i < double_blocks_.size(); ++i) {
    all.emplace_back(str("double_blocks.", i, ".img_mod.lin"), double_blocks_[i]->img_mod->lin.get());
    all.emplace_back(str("double_blocks.", i, ".txt_mod.lin"), double_blocks_[i]->txt_mod->lin.get());
  }
  for (size_t i = 0; i < single_blocks_.size(); ++i) {
    all.emplace_back(str("single_blocks.", i, ".modulation.lin"), single_blocks_[i]->modulation->lin.get());
  }
  all.emplace_back("final_layer.adaLN_modulation.1", final_layer_->modulation.get());

  int64_t column = 0;
  for (size_t begin = 0; begin < all.size();) {
    UnitSpec unit{all.size() > 1 && max_size < std::numeric_limits<int64_t>::max()
                      ? str("modulation.", modulations_.size())
                      : "modulation",
                  {},
                  /*packed=*/true};
    ModulationUnit modulation{specs.size(), column, 0};
    size_t end = begin;
    int64_t size = 0;
    do {
      size += all[end].second->weight.numel() + all[end].second->bias.numel();
      modulation.num_outputs += all[end].second->bias.numel();
      ++end;
    } while (end < all.size() && size + all[end].second->weight.numel() <= max_size);
    for (size_t i = begin; i < end; ++i) unit.parameters.emplace_back(all[i].first + ".weight", all[i].second->weight);
    for (size_t i = begin; i < end; ++i) unit.parameters.emplace_back(all[i].first + ".bias", all[i].second->bias);
    column += modulation.num_outputs;
    modulations_.push_back(modulation);
    specs.push_back(std::move(unit));
    begin = end;
  }
}

Flux::ModulationMatrix Flux::modulation_matrix(const torch::Tensor& whole, const ModulationUnit& modulation) const {
  const int64_t h = config_.hidden_size, outputs = modulation.num_outputs;
  return {whole.narrow(0, 0, outputs * h).view({outputs, h}), whole.narrow(0, outputs * h, outputs)};
}

torch::Tensor Flux::modulate(const torch::Tensor& activated_vec_BD, bool keep) {
  std::vector<torch::Tensor> parts;
  for (const ModulationUnit& modulation : modulations_) {
    const UnitUse use = flat_->forward_unit(modulation.unit, keep);
    const ModulationMatrix matrix = modulation_matrix(use.compute(), modulation);
    parts.push_back(matrix_product(activated_vec_BD, matrix.weight_ND.t(), matrix.bias_N));
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts, 1);
}

torch::Tensor Flux::backward_modulation(const Saved& saved) {
  torch::Tensor dactivated_BD;
  for (size_t i = modulations_.size(); i-- > 0;) {
    const ModulationUnit& modulation = modulations_[i];
    const UnitUse use = flat_->backward_unit(modulation.unit);
    const torch::Tensor dout_BN =
        saved.context.dmodulation_BM.narrow(1, modulation.begin, modulation.num_outputs).contiguous();
    const ModulationMatrix gradients = modulation_matrix(use.grad(), modulation);
    linear_backward_weight(gradients.weight_ND, dout_BN, saved.activated_vec_BD);
    linear_backward_bias(gradients.bias_N, dout_BN);
    const torch::Tensor part_BD = matrix_product(dout_BN, modulation_matrix(use.compute(), modulation).weight_ND);
    if (modulations_.size() == 1) {
      dactivated_BD = part_BD;
    } else {  // sums over units in fp32, so that cutting loses nothing
      dactivated_BD =
          dactivated_BD.defined() ? dactivated_BD.add_(part_BD) : part_BD.to(torch::kFloat32, false, /*copy=*/true);
    }
  }
  return at::silu_backward(dactivated_BD.to(saved.vec_BD.scalar_type()), saved.vec_BD);
}

}  // namespace millrace::flux
