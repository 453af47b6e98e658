// The parts FLUX's blocks are made of. Modules hold parameters only; the blocks schedule the arithmetic.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>

#include "comm/group.h"
#include "models/flux/config.h"
#include "nn/linear.h"
#include "nn/rope.h"

namespace millrace::flux {

// How much of a block's forward pass is kept for its backward pass (activation_checkpoint.mode).
enum class Keep {
  kAll,      // none: nothing is computed twice
  kOutputs,  // selective: GEMM and attention outputs; norms, rope and GELU are computed again
  kInputs,   // full: the block's input alone
};

struct Scale : torch::nn::Module {
  explicit Scale(int64_t dim);
  torch::Tensor scale;
};

struct QkNorm : torch::nn::Module {
  explicit QkNorm(int64_t head_dim);
  std::shared_ptr<Scale> query_norm, key_norm;
};

struct SelfAttention : torch::nn::Module {
  // attention_size: of this rank's heads together.
  SelfAttention(int64_t hidden_size, int64_t attention_size, int64_t head_dim);
  std::shared_ptr<Linear> qkv, proj;
  std::shared_ptr<QkNorm> norm;
};

// Named "0" and "2": index 1 is the GELU between them.
struct Mlp : torch::nn::Module {
  Mlp(int64_t hidden_size, int64_t mlp_hidden_size);
  std::shared_ptr<Linear> in, out;
};

// Its weights lie in the unit that holds all blocks' modulations, so that one GEMM serves them all.
struct Modulation : torch::nn::Module {
  Modulation(int64_t hidden_size, int64_t num_outputs);
  std::shared_ptr<Linear> lin;
};

// out_layer(SiLU(in_layer(x))), on one row per sample.
struct MlpEmbedder : torch::nn::Module {
  MlpEmbedder(int64_t in_dim, int64_t hidden_size);

  struct Saved {
    torch::Tensor x_BI, hidden_BD;
  };
  torch::Tensor forward(const torch::Tensor& x_BI, Saved* saved) const;
  torch::Tensor backward(const torch::Tensor& dout_BD, const Saved& saved);  // returns dx_BI

  std::shared_ptr<Linear> in_layer, out_layer;
};

// What every block of one step shares. B batch, T text tokens, I image tokens, L = T + I, M all modulation outputs.
struct BlockContext {
  int64_t num_heads = 0;  // of this rank
  int64_t head_dim = 0;
  Group* tp = nullptr;  // the ranks that share each block's heads and MLP; null: this rank has them all
  double qk_norm_eps = 0;
  int64_t num_text_tokens = 0;
  RopeTable rope;                // over the L tokens, text first
  torch::Tensor modulation_BM;   // shift, scale, gate triples of every block, in block order
  torch::Tensor dmodulation_BM;  // their gradients, written by the blocks' backward passes
  torch::Tensor dangle_BLP;      // gradient of the rope angles, added to when defined (fp32)
};

// The three columns [B, D] of modulation_BM that one sub-layer uses, as views; or of dmodulation_BM.
struct ModulationViews {
  torch::Tensor shift_BD, scale_BD, gate_BD;
};
ModulationViews modulation_views(const torch::Tensor& modulation_BM, int64_t begin, int64_t hidden_size);

// Starts adding up the ranks' parts of a matrix product, in place; nothing without tensor parallelism.
Work sum_over_tp(const BlockContext& context, const torch::Tensor& x);

// Where the gradients of the QK norms' scales are added: to the parameters' own, or, where ranks have different
// heads, to a buffer that finish() sums over them.
class ScaleGradients {
 public:
  ScaleGradients(const BlockContext& context, QkNorm& norm);
  void finish();

  torch::Tensor query_D, key_D;

 private:
  Group* tp_;
  QkNorm& norm_;
  torch::Tensor both_2D_;
};

// Adds the gradient of the rope angles that rotated queries and keys and their gradients imply: for a pair rotated by
// an angle, the derivative is the pair turned by a right angle.
void add_angle_gradient(const torch::Tensor& dangle_BLP, const torch::Tensor& rotated_BHLD,
                        const torch::Tensor& drotated_BHLD);

constexpr double kLayerNormEps = 1e-6;

}  // namespace millrace::flux
