#include "nn/gemm.h"

#include <algorithm>
#include <atomic>

#include "kernels/cpu_level.h"
#include "kernels/gemm_fp32/gemm_fp32.h"
#include "kernels/gemv/gemv.h"
#include "kernels/linear_bf16/linear_bf16.h"

// Exported by libtorch_cpu, but in no header that the wheel ships (aten/src/ATen/native/mkldnn/Matmul.h):
// result = alpha * mat1 * mat2 + beta * result.
namespace at::native {
TORCH_API void mkldnn_matmul(const Tensor& mat1, const Tensor& mat2, const Tensor& result, float beta, float alpha);
}

namespace millrace {
namespace {

// Below this many multiplications a call costs more to set up than it saves.
constexpr int64_t kMinWork = int64_t{1} << 20;

bool prefers_onednn() {
  static const bool answer = [] {
    if (!is_amd_processor() || detected_cpu_level() != CpuLevel::kV4) return false;
    try {  // libtorch refuses if ONEDNN_MAX_CPU_ISA disables AVX-512
      const torch::Tensor one_11 = torch::ones({1, 1}), product_11 = torch::empty({1, 1});
      at::native::mkldnn_matmul(one_11, one_11, product_11, 0.0f, 1.0f);
      return true;
    } catch (const c10::Error&) {
      return false;
    }
  }();
  return answer;
}

bool goes_to_onednn(const torch::Tensor& a_MK, const torch::Tensor& b_KN) {
  return a_MK.is_cpu() && a_MK.scalar_type() == torch::kFloat32 && a_MK.numel() * b_KN.size(1) >= kMinWork &&
         prefers_onednn();
}

bool is_bf16_on_cpu(const torch::Tensor& x) {
  return x.is_cpu() && x.scalar_type() == torch::kBFloat16;
}

// A single row by a matrix that is large enough to be worth a call. False: nothing was done.
bool multiply_row(const torch::Tensor& out_MN, const torch::Tensor& a_MK, const torch::Tensor& b_KN) {
  if (a_MK.size(0) != 1 || b_KN.numel() < kMinWork / 16) return false;
  const torch::Tensor out_N = out_MN.select(0, 0), weight_NK = b_KN.t(), a_K = a_MK.select(0, 0);
  if (!suits_gemv(out_N, weight_NK, a_K)) return false;
  gemv(out_N, weight_NK, a_K);
  return true;
}

std::atomic<int64_t> largest_operand = kLargestOperand;

MatrixSpan span_of(const torch::Tensor& matrix) {
  return {matrix.size(0), matrix.size(1), matrix.stride(0), matrix.stride(1)};
}

bool is_too_large(const torch::Tensor& x) {
  return x.numel() > 0 && (x.size(0) - 1) * x.stride(0) + (x.size(1) - 1) * x.stride(1) >= largest_operand;
}

bool is_too_large(const torch::Tensor& out_MN, const torch::Tensor& a_MK, const torch::Tensor& b_KN) {
  return is_too_large(out_MN) || is_too_large(a_MK) || is_too_large(b_KN);
}

void gemm_once(torch::Tensor& out_MN, const torch::Tensor& a_MK, const torch::Tensor& b_KN, bool accumulate) {
  if (out_MN.is_contiguous() && goes_to_onednn(a_MK, b_KN)) {
    at::native::mkldnn_matmul(a_MK, b_KN, out_MN, accumulate ? 1.0f : 0.0f, 1.0f);
  } else if (out_MN.stride(1) == 1 && suits_gemm_fp32(a_MK, b_KN)) {
    gemm_fp32(out_MN, a_MK, b_KN, accumulate);
  } else if (!accumulate && is_bf16_on_cpu(a_MK) && is_bf16_on_cpu(out_MN) && out_MN.stride(1) == 1 &&
             suits_linear_bf16(a_MK, {.weight_NK = b_KN.t()})) {
    linear_bf16(out_MN, a_MK, {.weight_NK = b_KN.t()});
  } else if (accumulate) {
    out_MN.addmm_(a_MK, b_KN);
  } else if (!multiply_row(out_MN, a_MK, b_KN)) {
    at::mm_out(out_MN, a_MK, b_KN);
  }
}

// Narrow sums that are cut are made in fp32, from products as they are.
void gemm_in_tiles(torch::Tensor& out_MN, const torch::Tensor& a_MK, const torch::Tensor& b_KN, bool accumulate) {
  const std::vector<ProductTile> tiles = product_tiles(span_of(out_MN), span_of(a_MK), span_of(b_KN), largest_operand);
  const bool cuts_sums = std::any_of(tiles.begin(), tiles.end(), [](const ProductTile& tile) { return tile.k > 0; });
  const bool is_narrow = out_MN.scalar_type() != torch::kFloat32 && out_MN.scalar_type() != torch::kFloat64;
  torch::Tensor sums_MN;
  if (cuts_sums && is_narrow) sums_MN = torch::zeros(out_MN.sizes(), out_MN.options().dtype(torch::kFloat32));
  for (const ProductTile& tile : tiles) {
    const torch::Tensor a = a_MK.narrow(0, tile.m, tile.m_size).narrow(1, tile.k, tile.k_size);
    const torch::Tensor b = b_KN.narrow(0, tile.k, tile.k_size).narrow(1, tile.n, tile.n_size);
    const auto part_of = [&](const torch::Tensor& x_MN) {
      return x_MN.narrow(0, tile.m, tile.m_size).narrow(1, tile.n, tile.n_size);
    };
    torch::Tensor part =
        sums_MN.defined() ? torch::empty({tile.m_size, tile.n_size}, out_MN.options()) : part_of(out_MN);
    gemm_once(part, a, b, !sums_MN.defined() && (accumulate || tile.k > 0));
    if (sums_MN.defined()) part_of(sums_MN).add_(part);
  }
  if (!sums_MN.defined()) return;
  if (accumulate) {
    out_MN.add_(sums_MN);
  } else {
    out_MN.copy_(sums_MN);
  }
}

}  // namespace

OperandLimit::OperandLimit(int64_t elements) {
  largest_operand = elements;
}
OperandLimit::~OperandLimit() {
  largest_operand = kLargestOperand;
}

void gemm(torch::Tensor& out_MN, const torch::Tensor& a_MK, const torch::Tensor& b_KN, bool accumulate) {
  if (is_too_large(out_MN, a_MK, b_KN)) return gemm_in_tiles(out_MN, a_MK, b_KN, accumulate);
  gemm_once(out_MN, a_MK, b_KN, accumulate);
}

torch::Tensor matrix_product(const torch::Tensor& a_MK, const torch::Tensor& b_KN, const torch::Tensor& bias_N) {
  if (is_too_large(a_MK) || is_too_large(b_KN) || a_MK.size(0) * b_KN.size(1) > largest_operand) {
    // The bias is added by the products, before they are rounded.
    torch::Tensor out_MN = torch::empty({a_MK.size(0), b_KN.size(1)}, a_MK.options());
    if (bias_N.defined()) out_MN.copy_(bias_N.expand_as(out_MN));
    gemm(out_MN, a_MK, b_KN, /*accumulate=*/bias_N.defined());
    return out_MN;
  }
  if (is_bf16_on_cpu(a_MK)) {
    const LinearBf16 layer{.weight_NK = b_KN.t(), .bias_N = bias_N};
    if (suits_linear_bf16(a_MK, layer)) {
      torch::Tensor out_MN = torch::empty({a_MK.size(0), b_KN.size(1)}, a_MK.options());
      linear_bf16(out_MN, a_MK, layer);
      return out_MN;
    }
  }
  if (!goes_to_onednn(a_MK, b_KN) && !suits_gemm_fp32(a_MK, b_KN))
    return bias_N.defined() ? at::addmm(bias_N, a_MK, b_KN) : at::mm(a_MK, b_KN);
  torch::Tensor out_MN = torch::empty({a_MK.size(0), b_KN.size(1)}, a_MK.options());
  if (bias_N.defined()) out_MN.copy_(bias_N.expand_as(out_MN));
  gemm(out_MN, a_MK, b_KN, /*accumulate=*/bias_N.defined());
  return out_MN;
}

}  // namespace millrace
