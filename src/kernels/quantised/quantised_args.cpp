#include "kernels/quantised/quantised_args.h"

namespace millrace {
namespace {

int64_t divided_up(int64_t n, int64_t by) {
  return (n + by - 1) / by;
}

template <typename T>
const T* data(const torch::Tensor& x, torch::ScalarType type, int64_t count, const torch::Tensor& like) {
  MILLRACE_CHECK(x.defined() && x.scalar_type() == type && x.is_contiguous() && x.numel() == count &&
                 x.device() == like.device());
  return static_cast<const T*>(data_of(x));
}

}  // namespace

int64_t code_bytes(QuantisedKind kind, BlockFormat format, int64_t rows, int64_t columns) {
  switch (kind) {
    case QuantisedKind::kFp8:
    case QuantisedKind::kInt8:
      return rows * columns;
    case QuantisedKind::kNf4:
      return divided_up(rows * columns, 2);
    case QuantisedKind::kBlocks: {
      const BlockFormatInfo& info = block_format_info(format);
      MILLRACE_CHECK(columns % info.elements == 0);
      return rows * (columns / info.elements) * info.bytes;
    }
  }
  MILLRACE_CHECK(false);
}

int64_t QuantisedTensor::bytes() const {
  int64_t sum = 0;
  for (const torch::Tensor* x :
       {&codes, &row_scales, &nf4_table, &scale_codes, &scale_table, &scale_factors, &scale_offset}) {
    if (x->defined()) sum += static_cast<int64_t>(x->nbytes());
  }
  return sum;
}

QuantisedTensor QuantisedTensor::to(torch::Device device) const {
  QuantisedTensor moved = *this;
  for (torch::Tensor* x : {&moved.codes, &moved.row_scales, &moved.nf4_table, &moved.scale_codes, &moved.scale_table,
                           &moved.scale_factors, &moved.scale_offset}) {
    if (x->defined()) *x = x->to(device);
  }
  return moved;
}

DequantiseArgs dequantise_args(const QuantisedTensor& matrix, int64_t row_begin, int64_t column_begin,
                               const torch::Tensor& out_RC) {
  const int64_t rows = out_RC.size(0), columns = out_RC.size(1);
  MILLRACE_CHECK(out_RC.dim() == 2 && (columns <= 1 || out_RC.stride(1) == 1));
  MILLRACE_CHECK(row_begin >= 0 && row_begin + rows <= matrix.rows);
  MILLRACE_CHECK(column_begin >= 0 && column_begin + columns <= matrix.columns);
  DequantiseArgs args{
      .matrix = {.kind = matrix.kind, .format = matrix.format, .rows = matrix.rows, .columns = matrix.columns},
      .row_begin = row_begin,
      .rows = rows,
      .column_begin = column_begin,
      .columns = columns,
      .type = element_type(out_RC),
      .out = data_of(out_RC),
      .out_stride = out_RC.stride(0)};
  QuantisedMatrix& raw = args.matrix;
  const int64_t bytes = code_bytes(matrix.kind, matrix.format, matrix.rows, matrix.columns);
  raw.codes = data<uint8_t>(matrix.codes, torch::kUInt8, bytes, out_RC);
  if (matrix.row_scales.defined()) {
    raw.row_scales = data<float>(matrix.row_scales, torch::kFloat32, matrix.rows, out_RC);
  }
  MILLRACE_CHECK(matrix.kind != QuantisedKind::kInt8 || matrix.row_scales.defined());
  if (matrix.kind == QuantisedKind::kBlocks) {
    const int64_t elements = block_format_info(matrix.format).elements;
    MILLRACE_CHECK(column_begin % elements == 0 && columns % elements == 0);
  }
  if (matrix.kind == QuantisedKind::kNf4) {
    const int64_t blocks = divided_up(matrix.rows * matrix.columns, kNf4Block);
    raw.nf4_table = data<float>(matrix.nf4_table, torch::kFloat32, 16, out_RC);
    raw.nf4_scales = {
        .codes = data<uint8_t>(matrix.scale_codes, torch::kUInt8, blocks, out_RC),
        .table = data<float>(matrix.scale_table, torch::kFloat32, 256, out_RC),
        .factors = data<float>(matrix.scale_factors, torch::kFloat32, divided_up(blocks, kNf4ScaleBlock), out_RC),
        .offset = data<float>(matrix.scale_offset, torch::kFloat32, 1, out_RC),
        .divide = matrix.divide_scales,
        .round_to_bf16 = matrix.round_scales_to_bf16,
    };
  }
  return args;
}

}  // namespace millrace
