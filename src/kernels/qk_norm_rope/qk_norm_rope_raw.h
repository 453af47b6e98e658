// qk_norm_rope on raw memory: the CPU levels' table and the CUDA entry points. See qk_norm_rope.h for the letters.
#pragma once

#include "kernels/raw.h"

namespace millrace {

// The largest head size whose rotation the CPU kernels keep on the stack.
constexpr int64_t kMaxHeadDim = 1024;

// [B, H, T, D]; strides count elements; data is where token `offset` of head 0 of sample 0 starts.
struct Heads {
  void* data = nullptr;
  int64_t batch_stride = 0, head_stride = 0, token_stride = 0;
};

// Cosines and sines, fp32; row strides count elements; batch stride 0 when all samples share a table.
struct RopeRows {
  const float *cos = nullptr, *sin = nullptr;
  int64_t cos_batch_stride = 0, cos_row_stride = 0, sin_batch_stride = 0, sin_row_stride = 0;
};

struct QkNormRopeForwardArgs {
  int64_t batch, length, heads, head_dim;
  ElementType type;  // of qkv, q, k and v
  float eps;
  Rows qkv;
  FloatRows bias;  // [3*H*D], or absent
  FloatRows q_scale, k_scale;
  RopeRows rope;
  Heads q, k, v;
};

struct QkNormRopeBackwardArgs {
  int64_t batch, length, heads, head_dim;
  ElementType type;  // of dq, dk, dv, qkv and dqkv
  float eps;
  Heads dq, dk, dv;
  Rows qkv, dqkv;
  FloatRows bias;  // [3*H*D], or absent
  FloatRows q_scale, k_scale;
  RopeRows rope;
  FloatRows dq_scale, dk_scale, dbias;  // each may be absent
  bool accumulate;
};

struct QkNormRopeKernels {
  // Rows [begin, end) of the flattened [B*L]. Indexed by ElementType.
  void (*forward[2])(const QkNormRopeForwardArgs& args, int64_t begin, int64_t end);
  // dscales: [2, D], the rows' sums for q and k; dbias: [3*H*D], or null.
  void (*backward[2])(const QkNormRopeBackwardArgs& args, int64_t begin, int64_t end, float* dscales, float* dbias);
};
extern const QkNormRopeKernels qk_norm_rope_kernels_v2, qk_norm_rope_kernels_v3, qk_norm_rope_kernels_v4;

// stream: a cudaStream_t. partials: fp32 scratch of qk_norm_rope_partials_size() elements.
void qk_norm_rope_forward_cuda(const QkNormRopeForwardArgs& args, void* stream);
int64_t qk_norm_rope_partials_size(const QkNormRopeBackwardArgs& args);
void qk_norm_rope_backward_cuda(const QkNormRopeBackwardArgs& args, float* partials, void* stream);

}  // namespace millrace
