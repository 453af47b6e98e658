#include "parallel/byte_run.h"

#include <c10/util/accumulate.h>

namespace millrace {
namespace {

constexpr int64_t kTensorAlignment = 256;

int64_t aligned(int64_t bytes) {
  return (bytes + kTensorAlignment - 1) / kTensorAlignment * kTensorAlignment;
}

}  // namespace

int64_t bytes_in_run(const torch::Tensor& x) {
  return aligned(static_cast<int64_t>(x.nbytes()));
}

torch::Tensor ByteRun::next(c10::IntArrayRef sizes, torch::Dtype dtype) {
  const int64_t bytes = c10::multiply_integers(sizes) * static_cast<int64_t>(c10::elementSize(dtype));
  torch::Tensor view = bytes_.narrow(0, begin_, bytes).view(dtype).view(sizes);
  begin_ += aligned(bytes);
  return view;
}

torch::Tensor without_memory(int64_t size, torch::Dtype dtype) {
  return torch::empty({1}, torch::TensorOptions().dtype(dtype).device(torch::kMeta)).expand({size});
}

}  // namespace millrace
