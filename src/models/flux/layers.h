// The components of FLUX's blocks. Modules hold only parameters; the blocks schedule the arithmetic.
//
// One legend of shape letters for all files of this folder (kernels/ and nn/ have their own: D may be a head's size
// there):
//   B samples, T text tokens, I image tokens, L tokens: T + I, text first, or those of one stream; R = B * L rows
//   D hidden_size, H heads of this rank, K head_dim, P = K / 2 rope pairs
//   W = H * K channels of this rank's heads, E = 3 W (q of all heads, then k, then v), F channels of this rank's MLP
//   G = E + F columns out of a single block's linear1, J = W + F columns into its linear2
//   M shift, scale and gate columns of all blocks' and the final layer's modulations
//   C in_channels, X context_in_dim, V vec_in_dim, N features into an embedder, A axes of a position
// Without tensor parallelism W = D, and F is the whole MLP. d is the gradient of what follows it.
#pragma once

#include <torch/nn/module.h>
#include <torch/types.h>

#include <memory>

#include "comm/group.h"
#include "models/flux/config.h"
#include "nn/attention.h"
#include "nn/linear.h"
#include "nn/recompute.h"
#include "nn/rope.h"

namespace millrace::flux {

struct Scale : torch::nn::Module {
  explicit Scale(int64_t dim);
  torch::Tensor scale;
};

struct QkNorm : torch::nn::Module {
  explicit QkNorm(int64_t head_dim);
  std::shared_ptr<Scale> query_norm, key_norm;
};

struct SelfAttention : torch::nn::Module {
  // attention_size: W.
  SelfAttention(int64_t hidden_size, int64_t attention_size, int64_t head_dim);
  std::shared_ptr<Linear> qkv, proj;
  std::shared_ptr<QkNorm> norm;
};

// Named "0" and "2": index 1 is the GELU between them.
struct Mlp : torch::nn::Module {
  Mlp(int64_t hidden_size, int64_t mlp_hidden_size);
  std::shared_ptr<Linear> in, out;
};

// Its weights belong to the unit of all blocks' modulations, so that one GEMM computes them all.
struct Modulation : torch::nn::Module {
  Modulation(int64_t hidden_size, int64_t num_outputs);
  std::shared_ptr<Linear> lin;
};

// out_layer(SiLU(in_layer(x))), on one row per sample.
struct MlpEmbedder : torch::nn::Module {
  MlpEmbedder(int64_t in_dim, int64_t hidden_size);

  struct Saved {
    torch::Tensor x_BN, hidden_BD;
  };
  torch::Tensor forward(const torch::Tensor& x_BN, Saved* saved) const;
  torch::Tensor backward(const torch::Tensor& dout_BD, const Saved& saved);  // returns dx_BN
  bool is_adapted() const { return in_layer->adapter() || out_layer->adapter(); }

  std::shared_ptr<Linear> in_layer, out_layer;
};

// Shared by all blocks of one step.
struct BlockContext {
  int64_t num_heads = 0;  // H
  int64_t head_dim = 0;   // K
  Group* tp = nullptr;    // the ranks that share each block's heads and MLP; null: this rank has all of them
  double qk_norm_eps = 0;
  int64_t num_text_tokens = 0;   // T
  PaddedPrefix padding;          // the text's, if it is left out of attention
  RopeTable rope;                // over the T + I tokens
  torch::Tensor modulation_BM;   // shift, scale, gate triples of every block, in block order
  torch::Tensor dmodulation_BM;  // their gradients, written by the blocks' backward passes
  torch::Tensor dangle_BLP;      // gradient of the rope angles, added to when defined (fp32)
};

// The three columns [B, D] of modulation_BM (or dmodulation_BM) that one sub-layer uses, as views.
struct ModulationViews {
  torch::Tensor shift_BD, scale_BD, gate_BD;
};
ModulationViews modulation_views(const torch::Tensor& modulation_BM, int64_t begin, int64_t hidden_size);

// Adds the gradient of the rope angles, computed from the rotated queries and keys and their gradients: the derivative
// of a rotated pair by its angle is the pair turned by a right angle.
void add_angle_gradient(const torch::Tensor& dangle_BLP, const torch::Tensor& rotated_BHLK,
                        const torch::Tensor& drotated_BHLK);

constexpr double kLayerNormEps = 1e-6;

}  // namespace millrace::flux
