// Converts tensors to kernel arguments (raw.h), with the checks every op needs. For op.cpp and op_cpu.cpp files.
#pragma once

#include <torch/types.h>

#include "base/error.h"
#include "kernels/raw.h"

namespace millrace {

// All tensors of one call are on one device, either CPU or CUDA.
bool on_cuda(const torch::Tensor& x);

// True when there are no numbers to read or write: no elements, or a tensor of the meta device, which has only a shape
// (used to plan a model). Ops then return right after their checks.
bool nothing_to_compute(const torch::Tensor& x);
void* data_of(const torch::Tensor& x);  // null on the meta device

ElementType element_type(const torch::Tensor& x);  // LogicError unless fp32 or bf16

// x: [B, L, D], or [L, D] as a batch of one; the last dimension is contiguous.
struct RowsShape {
  int64_t batch, length, dim;
  bool operator==(const RowsShape&) const = default;
};
RowsShape rows_shape(const torch::Tensor& x_BLD);
Rows rows_of(const torch::Tensor& x_BLD);
// Checks that x has this shape, the type of `like`, and its device.
void check_rows(const torch::Tensor& x_BLD, const RowsShape& shape, const torch::Tensor& like);

// x: [B, D] or [D], undefined gives null. Checks the sizes, and that x is on the device of `like`; batch 0 asks for
// [D].
FloatRows float_rows_of(const torch::Tensor& x, int64_t batch, int64_t dim, const torch::Tensor& like);
// Checks that x is one contiguous row of as many elements as `like` has, on its device.
void check_buffer(const torch::Tensor& x, const torch::Tensor& like);
// Converts a modulation, bias or scale for the kernels of its device: rows with a contiguous last dimension, on a CPU
// in fp32. Undefined stays undefined.
torch::Tensor kernel_floats(const torch::Tensor& x);

// Where a kernel puts sums for `target` ([B, D], [D] or undefined, fp32 or bf16): on CUDA the target itself; on a CPU
// fp32 scratch, which finish() writes or adds to the target.
class SumsTarget {
 public:
  explicit SumsTarget(const torch::Tensor& target);
  const torch::Tensor& sums() const { return sums_; }
  void finish(bool accumulate) const;

 private:
  torch::Tensor target_, sums_;
};

// Undefined to nullopt: autograd functions take no undefined tensors.
std::optional<torch::Tensor> if_defined(const torch::Tensor& x);

// For mean_BL and similar: fp32, contiguous, this many elements, on the device of `like`; undefined gives null.
float* stats_of(const torch::Tensor& x, int64_t count, const torch::Tensor& like);

// The current stream of x's device, as a cudaStream_t.
void* cuda_stream(const torch::Tensor& x);

// Makes x's device the current one, as kernel launches need it.
struct DeviceScope {
  explicit DeviceScope(const torch::Tensor& x) : guard(x.device()) {}
  c10::DeviceGuard guard;
};

// The smallest number of elements worth a separate thread.
constexpr int64_t kElementsPerThread = 16384;
inline int64_t rows_per_thread(int64_t dim) {
  return std::max<int64_t>(1, kElementsPerThread / std::max<int64_t>(1, dim));
}

// How a backward pass shares out rows (of one sample, where sums belong to a sample) on a CPU: RowChunks::make().
constexpr int64_t kMinRowsPerChunk = 16;
constexpr int64_t kMaxChunks = 64;

// The fp32 row of sample b.
inline float* row_of(const FloatRows& rows, int64_t b) {
  return static_cast<float*>(rows.data) + b * rows.batch_stride;
}

// out[i] = sum over c of partials[c * stride + i], c in order.
void sum_partials(const float* partials, int64_t count, int64_t stride, int64_t n, float* out);

}  // namespace millrace
