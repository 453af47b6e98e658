// From a fused QKV projection straight into the attention layout: add the bias, split heads, RMS-normalise q and k per
// head (Zhang and Sennrich 2019) and rotate adjacent pairs (RoPE, Su et al. 2021); v only gets its bias.
//   q = rope(x * rsqrt(mean(x^2) + eps) * q_scale),   rope: (a, b) -> (cos a - sin b, sin a + cos b)
//
// Letters: B batch, L tokens of this stream, T tokens of the joint sequence, H heads, D head size (even), P = D/2
// pairs, E = 3*H*D (q rows of all heads, then k, then v). A qkv row is contiguous and may be the first E columns of a
// wider tensor. cos and sin are fp32, [L, P] or [B, L, P]. Other tensors are fp32 or bf16 (qkv, q, k, v and their
// gradients the same; parameters and their gradients each either); arithmetic is fp32. Shapes that do not fit are
// LogicErrors.
#pragma once

#include <torch/types.h>

namespace millrace {

// Writes rows [offset, offset + L) of q, k and v: text and image streams meet in one buffer without a copy.
struct QkNormRopeForward {
  torch::Tensor qkv_BLE;
  torch::Tensor bias_E;  // or undefined
  torch::Tensor q_scale_D, k_scale_D;
  torch::Tensor cos_LP, sin_LP;
  double eps = 1e-6;
  int64_t offset = 0;
  torch::Tensor q_BHTD, k_BHTD, v_BHTD;  // out; any strides, but the last is 1
};
void qk_norm_rope_forward(const QkNormRopeForward& args);

// Reads rows [offset, offset + L) of the gradients; recomputes the norm from qkv_BLE.
struct QkNormRopeBackward {
  torch::Tensor dq_BHTD, dk_BHTD, dv_BHTD;  // any strides, but the last is 1
  torch::Tensor qkv_BLE;
  torch::Tensor bias_E;  // or undefined
  torch::Tensor q_scale_D, k_scale_D;
  torch::Tensor cos_LP, sin_LP;
  double eps = 1e-6;
  int64_t offset = 0;
  torch::Tensor dqkv_BLE;                // out; may be qkv_BLE
  torch::Tensor dq_scale_D, dk_scale_D;  // out, or undefined: not wanted
  torch::Tensor dbias_E;                 // out, or undefined
  bool accumulate = true;                // adds to dq_scale, dk_scale and dbias instead of overwriting them
};
void qk_norm_rope_backward(const QkNormRopeBackward& args);

// With an autograd graph: {q, k, v}, each [B, H, L, D]. bias_E may be undefined.
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> qk_norm_rope(
    const torch::Tensor& qkv_BLE, const torch::Tensor& bias_E, const torch::Tensor& q_scale_D,
    const torch::Tensor& k_scale_D, const torch::Tensor& cos_LP, const torch::Tensor& sin_LP, int64_t num_heads,
    double eps = 1e-6);

// Composed of ATen's operations: fp32 inside norm and rotation, as in PyTorch models.
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> qk_norm_rope_reference(
    const torch::Tensor& qkv_BLE, const torch::Tensor& bias_E, const torch::Tensor& q_scale_D,
    const torch::Tensor& k_scale_D, const torch::Tensor& cos_LP, const torch::Tensor& sin_LP, int64_t num_heads,
    double eps = 1e-6);

}  // namespace millrace
