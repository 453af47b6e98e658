#include "tasks/flux/flux_work.h"

#include "base/text.h"

namespace millrace {
namespace {

// Passes over memory of the fused ops between a block's products, in units of one value per token and channel of the
// hidden size; those of heads and MLP divide over the tp axis. m: MLP width over hidden size.
//   forward   norm_modulate 2, qk_norm_rope 6 (tp), heads merged 2 (tp), GELU 2m (tp), gate_residual 3;
//             a double block's gate_residual_norm 4
//   backward  gate_residual 3, GELU 3m (tp), merged 2 (tp), attention's gradient copied twice 4 (tp), qk_norm_rope 9
//   (tp),
//             norm_modulate 4;
//             a double block's gate_residual_norm 6
struct Passes {
  double whole = 0, split = 0;
  int launches = 0;
};

struct BlockPasses {
  Passes forward, backward, again;  // again: what selective recomputation repeats; full repeats forward
};

BlockPasses block_passes(bool is_double, double m) {
  if (is_double) {
    return {.forward = {9, 8 + 2 * m, 24}, .backward = {13, 15 + 3 * m, 44}, .again = {6, 8 + 2 * m, 12}};
  }
  return {.forward = {5, 8 + 2 * m, 9}, .backward = {7, 13 + 3 * m, 18}, .again = {2, 8 + 2 * m, 6}};
}

class Stages {
 public:
  explicit Stages(const FluxWorkSizes& sizes) : sizes_(sizes), b_(static_cast<double>(sizes.batch)) {}

  StageWork forward(const ParameterUnit& unit) const {
    if (is_block(unit)) return block(unit, /*backward=*/false);
    StageWork work = thin(unit, 1);
    work.name = unit.name;
    return work;
  }

  StageWork backward(const ParameterUnit& unit) const {
    StageWork work = is_block(unit) ? block(unit, /*backward=*/true) : thin(unit, 2);
    work.name = unit.name;
    return work;
  }

 private:
  static bool is_block(const ParameterUnit& unit) {
    return starts_with(unit.name, "double_blocks.") || starts_with(unit.name, "single_blocks.");
  }

  StageWork block(const ParameterUnit& unit, bool backward) const {
    const bool is_double = starts_with(unit.name, "double_blocks.");
    const flux::FluxConfig& model = sizes_.model;
    const auto h = static_cast<double>(model.hidden_size);
    const double m = static_cast<double>(model.mlp_hidden_size()) / h;
    const auto length = static_cast<double>(sizes_.image_tokens + sizes_.text_tokens);
    const double tp = sizes_.tp;
    // Per token: qkv 3 h^2, projection h^2, MLP 2 m h^2; the single block's fused layers add up to the same.
    const double gemm = 2 * (4 + 2 * m) * h * h * length * b_ / tp;
    const double attention = 4 * length * length * h * b_ / tp;
    const double value = length * h * b_ * static_cast<double>(sizes_.element_size);
    const BlockPasses passes = block_passes(is_double, m);
    StageWork work;
    work.name = unit.name;
    const auto add = [&](double times, const Passes& part, double products = 1) {
      work.gemm_flops += times * products * gemm;
      work.attention_flops += times * attention;
      work.memory_bytes += value * (part.whole + part.split / tp);
      work.launches += part.launches;
    };
    if (!backward) {
      add(1, passes.forward);
      return work;
    }
    // Each product has two gradients, of which frozen weights have none.
    add(2, passes.backward, sizes_.frozen ? 0.5 : 1);
    if (sizes_.keep == Keep::kOutputs) add(0, passes.again);
    if (sizes_.keep == Keep::kInputs) add(1, passes.forward);
    return work;
  }

  // Embedders, modulations and the final layer: few rows or few columns, so that reading the weights dominates.
  // The backward pass reads them and adds to their gradients.
  StageWork thin(const ParameterUnit& unit, int times) const {
    const auto parameters = static_cast<double>(unit.size);
    // Rows per sample: one for embedded vectors, one per token at both ends of the model.
    const flux::FluxConfig& model = sizes_.model;
    const auto h = static_cast<double>(model.hidden_size);
    double flops = 2 * parameters * b_;
    if (unit.name == "embedders") {
      flops += 2 * h * b_ *
               (static_cast<double>(model.in_channels * sizes_.image_tokens) +
                static_cast<double>(model.context_in_dim * sizes_.text_tokens));
    }
    if (unit.name == "final_layer") {
      flops += 2 * h * static_cast<double>(model.out_channels * sizes_.image_tokens) * b_;
    }
    StageWork work;
    work.gemm_flops = flops * (sizes_.frozen ? 1 : times);
    const int reads = times == 1 || sizes_.frozen ? 1 : 3;
    work.memory_bytes = parameters * static_cast<double>(sizes_.element_size) * reads;
    work.launches = 6 * times;
    return work;
  }

  const FluxWorkSizes& sizes_;
  double b_;
};

}  // namespace

std::vector<StageWork> forward_stages(const FluxWorkSizes& sizes, const std::vector<ParameterUnit>& units) {
  std::vector<StageWork> stages;
  for (const ParameterUnit& unit : units) stages.push_back(Stages(sizes).forward(unit));
  return stages;
}

std::vector<StageWork> backward_stages(const FluxWorkSizes& sizes, const std::vector<ParameterUnit>& units) {
  std::vector<StageWork> stages;
  // The order of Flux::backward: final layer, blocks, modulations, embedders.
  for (auto unit = units.rbegin(); unit != units.rend(); ++unit) stages.push_back(Stages(sizes).backward(*unit));
  return stages;
}

}  // namespace millrace
