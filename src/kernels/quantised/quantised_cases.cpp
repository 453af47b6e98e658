#include "kernels/quantised/quantised_cases.h"

#include <algorithm>

#include "base/error.h"
#include "kernels/philox_fill/philox_fill.h"
#include "kernels/quantised/quantise_tensor.h"

namespace millrace {
namespace {

using torch::Tensor;

Tensor normal(int64_t rows, int64_t columns, uint64_t id) {
  const Tensor x = torch::empty({1, rows * columns});
  philox_fill_normal_reference(x, {random_stream(31, RandomPurpose::kInit, 0, id)});
  return x.view({rows, columns}) * 0.05;
}

// Blocks of any bytes, except that the halves in them, which are scales, are ordinary numbers: bytes 0 to 3 hold one or
// two in all formats but Q6_K, whose one is at the end.
QuantisedTensor random_blocks(BlockFormat format, int64_t rows, int64_t columns) {
  const BlockFormatInfo& info = block_format_info(format);
  QuantisedTensor blocks;
  blocks.kind = QuantisedKind::kBlocks;
  blocks.format = format;
  blocks.rows = rows;
  blocks.columns = columns;
  const int64_t count = rows * columns / info.elements;
  blocks.codes =
      normal(count, info.bytes, info.gguf_type).mul_(1e5).to(torch::kInt32).bitwise_and(255).to(torch::kUInt8);
  const Tensor halves = normal(count, 2, 100 + info.gguf_type).to(torch::kFloat16).view(torch::kUInt8);  // [count, 4]
  const int64_t at = format == BlockFormat::kQ6_K ? info.bytes - 2 : 0, size = format == BlockFormat::kQ6_K ? 2 : 4;
  blocks.codes.narrow(1, at, size).copy_(halves.narrow(1, 0, size));
  blocks.codes = blocks.codes.reshape({-1});
  return blocks;
}

int64_t differing(const QuantisedTensor& matrix, const QuantisedTensor& on_device, int64_t row, int64_t column,
                  int64_t rows, int64_t columns, torch::ScalarType type, torch::Device device) {
  const Tensor wide = torch::zeros({rows, columns + 8}, torch::dtype(type).device(device));  // rows apart
  const Tensor out = wide.narrow(1, 0, columns), expected = torch::empty({rows, columns}, type);
  dequantise(on_device, row, column, out);
  dequantise_reference(matrix, row, column, expected);
  const auto bits = type == torch::kFloat32 ? torch::kInt32 : torch::kInt16;
  return out.to(torch::kCPU).contiguous().view(bits).ne(expected.view(bits)).sum().item<int64_t>() +
         torch::count_nonzero(wide.narrow(1, columns, 8)).item<int64_t>();
}

}  // namespace

std::vector<QuantisedCase> quantised_cases(int64_t rows) {
  std::vector<QuantisedCase> cases;
  for (const int64_t columns : {512, 75}) {
    const Tensor weight = normal(rows, columns, static_cast<uint64_t>(columns));
    weight[rows / 2].zero_();
    const std::string width = columns == 512 ? "" : " of odd rows";
    cases.push_back({"fp8" + width, quantise(weight, QuantisedAs::kFp8)});
    cases.push_back({"fp8 unscaled" + width, quantise(weight, QuantisedAs::kFp8Unscaled)});
    cases.push_back({"int8" + width, quantise(weight, QuantisedAs::kInt8)});
    cases.push_back({"nf4" + width, quantise(weight, QuantisedAs::kNf4)});
    cases.push_back({"torchao nf4" + width, quantise(weight, QuantisedAs::kNf4Torchao)});
    cases.push_back({"torchao nf4 in bf16" + width, quantise(weight.to(torch::kBFloat16), QuantisedAs::kNf4Torchao)});
  }
  for (const BlockFormat format : kAllBlockFormats) {
    cases.push_back({std::string(block_format_info(format).name), random_blocks(format, rows, 512)});
  }
  return cases;
}

int64_t differing_elements(const QuantisedTensor& matrix, torch::Device device) {
  const QuantisedTensor on_device = matrix.to(device);
  const int64_t rows = matrix.rows, columns = matrix.columns;
  const bool takes_any = matrix.kind != QuantisedKind::kBlocks;
  int64_t count = 0;
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    count += differing(matrix, on_device, 0, 0, rows, columns, type, device);
    count +=
        differing(matrix, on_device, 1, takes_any ? 3 : 256, rows - 1, takes_any ? columns - 5 : 256, type, device);
  }
  return count;
}

}  // namespace millrace
