#include "kernels/quantised/quantise_tensor.h"

#include <ATen/Parallel.h>

#include <mutex>

#include "kernels/adamw8bit/adamw8bit.h"
#include "kernels/quantised/quantise.h"
#include "kernels/round_up.h"
#include "kernels/tensor_args.h"

namespace millrace {
namespace {

using torch::Tensor;

// What a thread widens to fp32 at once: 512 KiB, which stay in its core's cache.
constexpr int64_t kPieceElements = int64_t{1} << 17;

template <typename T>
std::span<T> span_of(const Tensor& x, int64_t begin, int64_t end) {
  return {static_cast<T*>(x.data_ptr()) + begin, static_cast<size_t>(end - begin)};
}

// Calls work(begin, end) on the threads; the first of their errors is thrown here.
template <typename Work>
void in_parallel(int64_t count, int64_t grain, Work work) {
  std::exception_ptr failure;
  std::mutex mutex;
  at::parallel_for(0, count, grain, [&](int64_t begin, int64_t end) {
    try {
      work(begin, end);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
}

// fp32, contiguous.
Tensor widened(const Tensor& weight_NK) {
  if (weight_NK.scalar_type() != torch::kFloat8_e4m3fn) return weight_NK.to(torch::kFloat32).contiguous();
  Tensor values_NK = torch::empty(weight_NK.sizes(), torch::kFloat32);
  widen_e4m3(weight_NK.contiguous(), values_NK);
  return values_NK;
}

void quantise_rows(const Tensor& weight_NK, QuantisedAs as, QuantisedTensor& out) {
  const int64_t columns = out.columns, rows_per_piece = std::max<int64_t>(1, kPieceElements / columns);
  in_parallel(ceil_div(out.rows, rows_per_piece), 1, [&](int64_t begin_piece, int64_t end_piece) {
    for (int64_t i = begin_piece; i < end_piece; ++i) {
      const int64_t begin = i * rows_per_piece, end = std::min(out.rows, begin + rows_per_piece);
      const Tensor piece = widened(weight_NK.narrow(0, begin, end - begin));
      const auto in = span_of<const float>(piece, 0, piece.numel());
      const auto codes = span_of<uint8_t>(out.codes, begin * columns, end * columns);
      if (as == QuantisedAs::kFp8Unscaled) {
        quantise_fp8_unscaled(in, codes);
        continue;
      }
      const auto scales = span_of<float>(out.row_scales, begin, end);
      as == QuantisedAs::kFp8 ? quantise_fp8(in, columns, codes, scales) : quantise_int8(in, columns, codes, scales);
    }
  });
}

void quantise_nf4(const Tensor& weight_NK, Nf4Style style, QuantisedTensor& out) {
  const bool bf16 = weight_NK.scalar_type() == torch::kBFloat16;
  const int64_t elements = out.rows * out.columns, blocks = ceil_div(elements, kNf4Block);
  const Tensor flat = weight_NK.reshape({1, -1}), absmax = torch::empty({blocks}, torch::kFloat32);
  constexpr int64_t kBlocksPerPiece = kPieceElements / kNf4Block;
  in_parallel(ceil_div(blocks, kBlocksPerPiece), 1, [&](int64_t begin_piece, int64_t end_piece) {
    for (int64_t i = begin_piece; i < end_piece; ++i) {
      const int64_t first = i * kBlocksPerPiece, last = std::min(blocks, first + kBlocksPerPiece);
      const int64_t begin = first * kNf4Block, end = std::min(elements, last * kNf4Block);
      const Tensor piece = widened(flat.narrow(1, begin, end - begin));
      quantise_nf4(span_of<const float>(piece, 0, end - begin), style, bf16,
                   span_of<uint8_t>(out.codes, begin / 2, ceil_div(end, 2)), span_of<float>(absmax, first, last));
    }
  });

  const std::span<const float> table = nf4_table(style, bf16);
  out.nf4_table.copy_(torch::tensor(at::ArrayRef<float>(table.data(), table.size()), torch::kFloat32));
  out.scale_table.copy_(out.divide_scales ? torch::arange(256, torch::kUInt8).view(torch::kInt8)
                                          : code_values(/*is_signed=*/true));
  Nf4ScaleCodes codes{.codes = span_of<uint8_t>(out.scale_codes, 0, blocks),
                      .factors = span_of<float>(out.scale_factors, 0, out.scale_factors.numel())};
  quantise_nf4_scales(span_of<const float>(absmax, 0, blocks), style, bf16,
                      span_of<const float>(out.scale_table, 0, 256), codes);
  out.scale_offset.fill_(codes.offset);
}

bool is_nf4(QuantisedAs as) {
  return as == QuantisedAs::kNf4 || as == QuantisedAs::kNf4Torchao;
}

}  // namespace

QuantisedTensor quantise(const Tensor& weight_NK, QuantisedAs as) {
  MILLRACE_CHECK(weight_NK.dim() == 2 && weight_NK.is_cpu() && weight_NK.is_floating_point() && weight_NK.numel() > 0);
  const torch::NoGradGuard no_grad;
  QuantisedTensor out = unfilled(weight_NK.size(0), weight_NK.size(1), weight_NK.scalar_type(), as);
  if (is_nf4(as)) {
    quantise_nf4(weight_NK, as == QuantisedAs::kNf4 ? Nf4Style::kBitsandbytes : Nf4Style::kTorchao, out);
  } else if (as == QuantisedAs::kFp8Unscaled && weight_NK.scalar_type() == torch::kFloat8_e4m3fn) {
    out.codes.view(weight_NK.sizes()).copy_(weight_NK.view(torch::kUInt8));
  } else {
    quantise_rows(weight_NK, as, out);
  }
  return out;
}

QuantisedTensor unfilled(int64_t rows, int64_t columns, torch::Dtype dtype, QuantisedAs as, torch::Device device) {
  const auto bytes = torch::TensorOptions().dtype(torch::kUInt8).device(device), floats = bytes.dtype(torch::kFloat32);
  QuantisedTensor out;
  out.kind = is_nf4(as) ? QuantisedKind::kNf4 : as == QuantisedAs::kInt8 ? QuantisedKind::kInt8 : QuantisedKind::kFp8;
  out.rows = rows;
  out.columns = columns;
  out.codes = torch::empty({code_bytes(out.kind, out.format, rows, columns)}, bytes);
  if (as == QuantisedAs::kFp8 || as == QuantisedAs::kInt8) out.row_scales = torch::empty({rows}, floats);
  if (!is_nf4(as)) return out;
  const int64_t blocks = ceil_div(rows * columns, kNf4Block);
  out.divide_scales = as == QuantisedAs::kNf4Torchao;
  out.round_scales_to_bf16 = out.divide_scales && dtype == torch::kBFloat16;
  out.nf4_table = torch::empty({16}, floats);
  out.scale_codes = torch::empty({blocks}, bytes);
  out.scale_table = torch::empty({256}, floats);
  out.scale_factors = torch::empty({ceil_div(blocks, kNf4ScaleBlock)}, floats);
  out.scale_offset = torch::empty({1}, floats);
  return out;
}

}  // namespace millrace
