#include "nn/quantised_io.h"

#include <cstring>

#include "base/error.h"
#include "kernels/quantised/quantise_tensor.h"

namespace millrace {

QuantisedTensor blocks_of(const TensorView& view) {
  MILLRACE_CHECK(view.block_format != BlockFormat::kNone && view.shape.size() == 2);
  QuantisedTensor blocks;
  blocks.kind = QuantisedKind::kBlocks;
  blocks.format = view.block_format;
  blocks.rows = view.shape[0];
  blocks.columns = view.shape[1];
  blocks.codes = torch::empty({static_cast<int64_t>(view.bytes.size())}, torch::kUInt8);
  if (!view.bytes.empty()) std::memcpy(blocks.codes.data_ptr(), view.bytes.data(), view.bytes.size());
  if (const int64_t heads = view.interleaved_heads; heads > 0) {
    blocks.codes = blocks.codes.view({heads, blocks.rows / heads / 2, 2, -1}).transpose(1, 2).reshape({-1});
  }
  return blocks;
}

torch::Tensor rounded_to_fp8(const torch::Tensor& x) {
  if (x.numel() == 0) return x.to(torch::kFloat32);
  const torch::Tensor row = x.reshape({1, -1});
  torch::Tensor rounded = torch::empty(row.sizes(), torch::kFloat32);
  dequantise(quantise(row, QuantisedAs::kFp8Unscaled), 0, 0, rounded);
  return rounded.view(x.sizes());
}

}  // namespace millrace
