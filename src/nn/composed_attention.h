// Attention of a few heads from matrix products, where libtorch has no fused kernel that fits: fp32 on a GPU.
//
// Shape letters: H heads, Q queries, C keys, D head_dim. All scores of a call are held at once: 4 H Q C bytes. Scale is
// 1/sqrt(D). Arithmetic is fp32 for narrower types.
#pragma once

#include <torch/types.h>

#include <tuple>

namespace millrace {

// Results as those of at::_scaled_dot_product_flash_attention_for_cpu: out_1HQD in q's type, logsumexp_1HQ.
// causal: query i sees keys 0 to i. mask_QC: added to the scores, or undefined.
std::tuple<torch::Tensor, torch::Tensor> composed_attention_forward(const torch::Tensor& q_1HQD,
                                                                    const torch::Tensor& k_1HCD,
                                                                    const torch::Tensor& v_1HCD, bool causal,
                                                                    const torch::Tensor& mask_QC);

// dq, dk and dv, in the inputs' types. The same bits every time.
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> composed_attention_backward(
    const torch::Tensor& dout_1HQD, const torch::Tensor& q_1HQD, const torch::Tensor& k_1HCD,
    const torch::Tensor& v_1HCD, const torch::Tensor& out_1HQD, const torch::Tensor& logsumexp_1HQ, bool causal,
    const torch::Tensor& mask_QC);

}  // namespace millrace
