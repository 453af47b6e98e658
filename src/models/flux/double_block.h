// FLUX's double block: text and image streams with separate weights, joined in one attention. Letters: layers.h.
#pragma once

#include "models/flux/layers.h"
#include "nn/attention.h"

namespace millrace::flux {

class DoubleBlock : public torch::nn::Module {
 public:
  // modulation_begin: the first of this block's 12 D columns of modulation_BM (image's 6 D, then text's). tp_size:
  // how many ranks share the heads and the MLP.
  DoubleBlock(const FluxConfig& config, int64_t modulation_begin, int tp_size);

  // One stream's tensors, in the order of computation; those that are not kept are undefined.
  struct StreamSaved {
    torch::Tensor x_BLD;                                       // the block's input
    torch::Tensor mean1_BL, rstd1_BL, normed1_RD, qkv_RE;      // norm before attention; its qkv, without bias
    torch::Tensor merged_RW, projected_RD;                     // the stream's rows of attention's output; projected
    torch::Tensor middle_BLD, mean2_BL, rstd2_BL, normed2_RD;  // after the attention's residual; norm before the MLP
    torch::Tensor hidden_RF, activated_RF, out_RD;             // MLP: before GELU, after it, output
    LinearPass qkv_pass, proj_pass, in_pass, out_pass;         // kept by adapters, along with the outputs
  };
  struct Saved {
    StreamSaved img, txt;
    torch::Tensor q_BHLK, k_BHLK, v_BHLK;  // of both streams, text first
    Attention attention;
  };

  struct Streams {
    torch::Tensor img_BID, txt_BTD;
  };
  // saved may be null (inference).
  Streams forward(const BlockContext& context, const Streams& x, Saved* saved, Keep keep);
  // Adds the gradients of trained parameters, writes this block's part of dmodulation, returns the gradient of x. dout
  // is overwritten. Afterwards saved also holds the recomputed tensors; the caller drops it.
  Streams backward(const BlockContext& context, Saved& saved, Streams dout);

  // Parameters in the block's own unit, named relative to the block; the modulations belong to the modulation unit.
  std::vector<std::pair<std::string, torch::Tensor>> unit_parameters() const;

  std::shared_ptr<Modulation> img_mod, txt_mod;

 private:
  struct Stream {
    std::shared_ptr<SelfAttention> attn;
    std::shared_ptr<Mlp> mlp;
    int64_t modulation_begin;
  };
  Stream make_stream(const std::string& name, const FluxConfig& config, int64_t modulation_begin, int tp_size);

  // Recompute the undefined tensors of saved from the defined ones.
  void compute_attention(const BlockContext& context, Saved& saved);
  void norm_and_qkv(const BlockContext& context, const Stream& stream, StreamSaved& saved);
  void compute_mlp(const BlockContext& context, const Stream& stream, StreamSaved& saved, const Attention& attention,
                   int64_t token_begin);
  torch::Tensor finish(const BlockContext& context, const Stream& stream, const StreamSaved& saved);
  static void drop(StreamSaved& saved, Keep keep);

  void backward_mlp(const BlockContext& context, Stream& stream, StreamSaved& saved, torch::Tensor& d_BLD,
                    torch::Tensor& dattention_BLHK, int64_t token_begin);
  void backward_qkv(const BlockContext& context, Stream& stream, StreamSaved& saved, const AttentionGradients& grads,
                    torch::Tensor& d_BLD, int64_t token_begin);

  Stream img_, txt_;
};

}  // namespace millrace::flux
