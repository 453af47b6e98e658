#include "kernels/quantised/quantised_args.h"
#include "kernels/quantised/quantised_decode.h"

namespace millrace {
namespace {

float element(const QuantisedMatrix& m, int64_t row, int64_t column) {
  const int64_t at = row * m.columns + column;
  switch (m.kind) {
    case QuantisedKind::kFp8:
      return float_of_e4m3(m.codes[at]) * (m.row_scales ? m.row_scales[row] : 1.0f);
    case QuantisedKind::kInt8:
      return static_cast<float>(static_cast<int8_t>(m.codes[at])) * m.row_scales[row];
    case QuantisedKind::kNf4:
      return m.nf4_table[nf4_index(m.codes, at)] * nf4_scale(m.nf4_scales, at / kNf4Block);
    case QuantisedKind::kBlocks:
      break;
  }
  float value = 0;
  with_blocks(m.format, [&](auto blocks) {
    using Blocks = decltype(blocks);
    const uint8_t* block = m.codes + at / Blocks::kElements * Blocks::kBytes;
    const int in_block = static_cast<int>(at % Blocks::kElements), group = in_block / Blocks::kGroup;
    value = block_value<Blocks>(Blocks::scale(block, group), Blocks::code(block, group, in_block % Blocks::kGroup));
  });
  return value;
}

}  // namespace

void dequantise_reference(const QuantisedTensor& matrix, int64_t row_begin, int64_t column_begin,
                          const torch::Tensor& out_RC) {
  const torch::Tensor values = torch::empty(out_RC.sizes(), torch::kFloat32);
  const DequantiseArgs args = dequantise_args(matrix.to(torch::kCPU), row_begin, column_begin, values);
  float* out = values.data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    out[i] = element(args.matrix, row_begin + i / args.columns, column_begin + i % args.columns);
  }
  out_RC.copy_(values);
}

}  // namespace millrace
