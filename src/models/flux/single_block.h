// FLUX's single block: attention and MLP side by side on the joined sequence, with one GEMM in and one out.
#pragma once

#include "models/flux/layers.h"
#include "nn/attention.h"

namespace millrace::flux {

class SingleBlock : public torch::nn::Module {
 public:
  // modulation_begin: the first of this block's 3 D columns of modulation_BM. tp_size: how many ranks share the heads
  // and the MLP.
  SingleBlock(const FluxConfig& config, int64_t modulation_begin, int tp_size);

  // R = B * L rows; A channels of this rank's heads (D without tensor parallelism), M of its MLP; F = 3 A + M columns
  // out of linear1 (q, k, v, MLP); C = A + M columns into linear2.
  struct Saved {
    torch::Tensor x_BLD, mean_BL, rstd_BL, normed_RD, fused_RF, q_BHLD, k_BHLD, v_BHLD;
    Attention attention;
    torch::Tensor joined_RC, out_RD;
  };

  // saved may be null (inference).
  torch::Tensor forward(const BlockContext& context, const torch::Tensor& x_BLD, Saved* saved, Keep keep);
  // As DoubleBlock::backward.
  torch::Tensor backward(const BlockContext& context, Saved& saved, torch::Tensor dout_BLD);

  std::vector<std::pair<std::string, torch::Tensor>> unit_parameters() const;

  std::shared_ptr<Modulation> modulation;

 private:
  // Fills what is undefined in saved from what is defined.
  void compute(const BlockContext& context, Saved& saved);

  int64_t modulation_begin_, attention_size_, mlp_hidden_size_;
  std::shared_ptr<Linear> linear1_, linear2_;
  std::shared_ptr<QkNorm> norm_;
};

}  // namespace millrace::flux
