// gate_residual on raw memory: the CPU levels' table and the CUDA entry points. See gate_residual.h for the letters.
#pragma once

#include "kernels/raw.h"

namespace millrace {

struct GateResidualForwardArgs {
  int64_t batch, length, dim;
  ElementType type;  // of x, y, out and n
  Rows x, y, out;
  FloatRows gate, bias;  // bias may be absent
  // The norm of the next sub-layer; unused by the plain forward.
  float eps;
  Rows n;
  FloatRows shift, scale;
  float *mean, *rstd;  // [B*L], or null
};

struct GateResidualBackwardArgs {
  int64_t batch, length, dim;
  ElementType type;  // of dout, y and dy, and of dn and out
  Rows dout, y, dy;
  FloatRows gate, bias;  // bias may be absent
  FloatRows dgate;
  FloatRows dbias;  // or absent
  bool accumulate_dbias;
  // The norm of the next sub-layer; unused by the plain backward.
  Rows dn, out;
  FloatRows scale, dshift, dscale;
  const float *mean, *rstd;  // [B*L]
};

struct GateResidualKernels {
  // Rows [begin, end) of the flattened [B*L]. Indexed by ElementType.
  void (*forward[2])(const GateResidualForwardArgs& args, int64_t begin, int64_t end);
  void (*norm_forward[2])(const GateResidualForwardArgs& args, int64_t begin, int64_t end);
  // Rows [begin, end) of sample b. sums: [2, D], the rows' sums of dout * (y + bias) and of dout.
  void (*backward[2])(const GateResidualBackwardArgs& args, int64_t b, int64_t begin, int64_t end, float* sums);
};
extern const GateResidualKernels gate_residual_kernels_v2, gate_residual_kernels_v3, gate_residual_kernels_v4;

// stream: a cudaStream_t. partials: fp32 scratch of gate_residual_partials_size() elements.
void gate_residual_forward_cuda(const GateResidualForwardArgs& args, bool with_norm, void* stream);
int64_t gate_residual_partials_size(const GateResidualBackwardArgs& args, bool with_norm);
void gate_residual_backward_cuda(const GateResidualBackwardArgs& args, bool with_norm, float* partials, void* stream);

}  // namespace millrace
