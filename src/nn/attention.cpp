#include "nn/attention.h"

#include "base/error.h"
#include "kernels/attention_bf16/attention_bf16.h"
#include "nn/deterministic_scope.h"

namespace millrace {
namespace {

enum class Backend { kShapesOnly, kCpuFlash, kCudaFlash, kCudaEfficient };

bool is_half(const torch::Tensor& x) {
  return x.scalar_type() == torch::kBFloat16 || x.scalar_type() == torch::kFloat16;
}

// Tokens outermost, like the kernels' results.
torch::Tensor empty_heads(const torch::Tensor& like_BHLD) {
  return torch::empty_like(like_BHLD.transpose(1, 2), torch::MemoryFormat::Contiguous).transpose(1, 2);
}

// CUDA's flash kernels take half precision and head sizes in multiples of 8 up to 256; the memory-efficient ones take
// the rest.
Backend choose_backend(const torch::Tensor& q_BHLD) {
  if (q_BHLD.is_meta()) return Backend::kShapesOnly;
  if (q_BHLD.is_cpu()) return Backend::kCpuFlash;
  return is_half(q_BHLD) && q_BHLD.size(3) % 8 == 0 && q_BHLD.size(3) <= 256 ? Backend::kCudaFlash
                                                                             : Backend::kCudaEfficient;
}

}  // namespace

Attention attention_forward(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD) {
  const torch::NoGradGuard no_grad;
  Attention result;
  switch (choose_backend(q_BHLD)) {
    case Backend::kShapesOnly: {
      result.out_BHLD = empty_heads(q_BHLD);
      result.logsumexp_BHL =
          torch::empty({q_BHLD.size(0), q_BHLD.size(1), q_BHLD.size(2)}, q_BHLD.options().dtype(torch::kFloat32));
      break;
    }
    case Backend::kCpuFlash: {
      std::tie(result.out_BHLD, result.logsumexp_BHL) =
          at::_scaled_dot_product_flash_attention_for_cpu(q_BHLD, k_BHLD, v_BHLD);
      break;
    }
    case Backend::kCudaFlash: {
      auto [out, lse, cum_seq_q, cum_seq_k, max_q, max_k, seed, offset, debug_mask] =
          at::_scaled_dot_product_flash_attention(q_BHLD, k_BHLD, v_BHLD);
      result = {out,
                lse,
                seed,
                offset,
                cum_seq_q,
                cum_seq_k,
                max_q.guard_int(__FILE__, __LINE__),
                max_k.guard_int(__FILE__, __LINE__)};
      break;
    }
    case Backend::kCudaEfficient: {
      auto [out, lse, seed, offset] = at::_scaled_dot_product_efficient_attention(q_BHLD, k_BHLD, v_BHLD, std::nullopt,
                                                                                  /*compute_log_sumexp=*/true);
      result = {out, lse, seed, offset};
      break;
    }
  }
  return result;
}

AttentionGradients attention_backward(const torch::Tensor& dout_BHLD, const torch::Tensor& q_BHLD,
                                      const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD,
                                      const Attention& forward) {
  const torch::NoGradGuard no_grad;
  const DeterministicScope deterministic;
  AttentionGradients grads;
  switch (choose_backend(q_BHLD)) {
    case Backend::kShapesOnly: {
      // The half-precision kernels sum dq in fp32; if heads x samples are fewer than a GPU's multiprocessors, in
      // several such sums, which are not counted here.
      const torch::Tensor sums = is_half(q_BHLD) ? torch::empty_like(q_BHLD, torch::kFloat32) : torch::Tensor();
      grads = {empty_heads(q_BHLD), empty_heads(k_BHLD), empty_heads(v_BHLD)};
      break;
    }
    case Backend::kCpuFlash:
      std::tie(grads.dq_BHLD, grads.dk_BHLD, grads.dv_BHLD) = at::_scaled_dot_product_flash_attention_for_cpu_backward(
          dout_BHLD, q_BHLD, k_BHLD, v_BHLD, forward.out_BHLD, forward.logsumexp_BHL, 0.0, false);
      break;
    case Backend::kCudaFlash:
      std::tie(grads.dq_BHLD, grads.dk_BHLD, grads.dv_BHLD) = at::_scaled_dot_product_flash_attention_backward(
          dout_BHLD, q_BHLD, k_BHLD, v_BHLD, forward.out_BHLD, forward.logsumexp_BHL, forward.cum_seq_q,
          forward.cum_seq_k, forward.max_q, forward.max_k, 0.0, false, forward.philox_seed, forward.philox_offset);
      break;
    case Backend::kCudaEfficient:
      std::tie(grads.dq_BHLD, grads.dk_BHLD, grads.dv_BHLD, std::ignore) =
          at::_scaled_dot_product_efficient_attention_backward(
              dout_BHLD, q_BHLD, k_BHLD, v_BHLD, torch::Tensor(), forward.out_BHLD, forward.logsumexp_BHL,
              forward.philox_seed, forward.philox_offset, 0.0, {true, true, true, false});
      break;
  }
  return grads;
}

torch::Tensor biased_attention(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD,
                               const torch::Tensor& bias_1HLL, double scale) {
  torch::Tensor out_BHLD;
  if (const torch::Tensor bias_HLL = bias_1HLL.squeeze(0);
      !at::GradMode::is_enabled() && suits_attention_bf16(q_BHLD, k_BHLD, v_BHLD, bias_HLL)) {
    out_BHLD = empty_heads(q_BHLD);
    attention_bf16(out_BHLD, q_BHLD, k_BHLD, v_BHLD, bias_HLL, scale);
  } else {
    out_BHLD = at::scaled_dot_product_attention(q_BHLD, k_BHLD, v_BHLD, bias_1HLL, /*dropout_p=*/0.0,
                                                /*is_causal=*/false, scale);
  }
  return out_BHLD.transpose(1, 2).flatten(2);
}

}  // namespace millrace
