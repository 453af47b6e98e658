// FLUX's single block: attention and MLP in parallel on the joined sequence, with one GEMM in and one out. Letters:
// layers.h.
#pragma once

#include "models/flux/layers.h"
#include "nn/attention.h"

namespace millrace::flux {

class SingleBlock : public torch::nn::Module {
 public:
  // modulation_begin: the first of this block's 3 D columns of modulation_BM. tp_size: how many ranks share the heads
  // and the MLP.
  SingleBlock(const FluxConfig& config, int64_t modulation_begin, int tp_size);

  // In the order of computation; tensors that are not kept are undefined.
  struct Saved {
    torch::Tensor x_BLD;                        // the block's input
    torch::Tensor mean_BL, rstd_BL, normed_RD;  // norm
    torch::Tensor fused_RG;                     // linear1's output without bias: qkv [R, E], then the MLP's [R, F]
    torch::Tensor q_BHLK, k_BHLK, v_BHLK;       // from the first E columns
    Attention attention;
    torch::Tensor joined_RJ;                // attention's output [R, W], then gelu of the MLP's columns [R, F]
    torch::Tensor out_RD;                   // linear2's output without bias
    LinearPass linear1_pass, linear2_pass;  // kept by adapters, along with the outputs
  };

  // saved may be null (inference).
  torch::Tensor forward(const BlockContext& context, const torch::Tensor& x_BLD, Saved* saved, Keep keep);
  // Like DoubleBlock::backward.
  torch::Tensor backward(const BlockContext& context, Saved& saved, torch::Tensor dout_BLD);

  std::vector<std::pair<std::string, torch::Tensor>> unit_parameters() const;

  std::shared_ptr<Modulation> modulation;

 private:
  // Recomputes the undefined tensors of saved from the defined ones.
  void compute(const BlockContext& context, Saved& saved);

  int64_t modulation_begin_, attention_size_, mlp_hidden_size_;  // the latter two: W and F
  std::shared_ptr<Linear> linear1_, linear2_;
  std::shared_ptr<QkNorm> norm_;
};

}  // namespace millrace::flux
