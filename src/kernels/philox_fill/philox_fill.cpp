#include "kernels/philox_fill/philox_fill.h"

#include "kernels/philox_fill/philox_fill_cpu.h"

namespace millrace {
namespace {

using torch::Tensor;

void fill(RandomKind kind, const Tensor& out_B, const std::vector<RandomStream>& streams, uint64_t first_index) {
  MILLRACE_CHECK(out_B.dim() >= 1 && out_B.size(0) == static_cast<int64_t>(streams.size()));
  if (nothing_to_compute(out_B)) return;
  MILLRACE_CHECK(out_B[0].is_contiguous());
  constexpr uint64_t kStreamLength = uint64_t{1} << 34;
  const int64_t batch = out_B.size(0), n = out_B.numel() / batch;
  MILLRACE_CHECK(first_index + static_cast<uint64_t>(n) <= kStreamLength);
  if (on_cuda(out_B)) {
    const DeviceScope scope(out_B);
    philox_fill_cuda(kind, element_type(out_B), streams.data(), batch, n, out_B.stride(0), first_index,
                     out_B.data_ptr(), cuda_stream(out_B));
  } else {
    philox_fill_cpu(kind, element_type(out_B), streams.data(), batch, n, out_B.stride(0), first_index,
                    out_B.data_ptr());
  }
}

}  // namespace

void philox_fill_normal(const Tensor& out_B, const std::vector<RandomStream>& streams, uint64_t first_index) {
  fill(RandomKind::kNormal, out_B, streams, first_index);
}
void philox_fill_uniform(const Tensor& out_B, const std::vector<RandomStream>& streams, uint64_t first_index) {
  fill(RandomKind::kUniform, out_B, streams, first_index);
}

}  // namespace millrace
