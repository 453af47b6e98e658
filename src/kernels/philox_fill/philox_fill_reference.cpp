#include "base/error.h"
#include "kernels/philox_fill/philox_fill.h"

namespace millrace {
namespace {

template <typename Number>
void fill(const torch::Tensor& out_B, const std::vector<RandomStream>& streams, uint64_t first_index, Number number) {
  MILLRACE_CHECK(out_B.size(0) == static_cast<int64_t>(streams.size()));
  for (int64_t b = 0; b < out_B.size(0); ++b) {
    std::vector<float> numbers(out_B[b].numel());
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = number(streams[b], first_index + i);
    out_B[b].copy_(torch::tensor(numbers).view(out_B[b].sizes()));
  }
}

}  // namespace

void philox_fill_normal_reference(const torch::Tensor& out_B, const std::vector<RandomStream>& streams,
                                  uint64_t first_index) {
  fill(out_B, streams, first_index, random_normal);
}
void philox_fill_uniform_reference(const torch::Tensor& out_B, const std::vector<RandomStream>& streams,
                                   uint64_t first_index) {
  fill(out_B, streams, first_index, random_uniform);
}

}  // namespace millrace
