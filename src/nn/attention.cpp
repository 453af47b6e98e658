#include "nn/attention.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/error.h"
#include "kernels/attention_bf16/attention_bf16.h"
#include "kernels/attention_fp32/attention_fp32.h"
#include "nn/deterministic_scope.h"

namespace millrace {
namespace {

enum class Backend { kShapesOnly, kCpuFp32, kCpuFlash, kCudaFlash, kCudaEfficient };

bool is_half(const torch::Tensor& x) {
  return x.scalar_type() == torch::kBFloat16 || x.scalar_type() == torch::kFloat16;
}

// Tokens outermost, like the kernels' results.
torch::Tensor empty_heads(const torch::Tensor& like_BHLD) {
  return torch::empty_like(like_BHLD.transpose(1, 2), torch::MemoryFormat::Contiguous).transpose(1, 2);
}

// CUDA's flash kernels take half precision and head sizes in multiples of 8 up to 256; the memory-efficient ones take
// the rest.
Backend choose_backend(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD) {
  if (q_BHLD.is_meta()) return Backend::kShapesOnly;
  if (q_BHLD.is_cpu()) {
    const bool is_fp32 = suits_attention_fp32(q_BHLD, k_BHLD, v_BHLD, /*causal=*/false);
    return is_fp32 ? Backend::kCpuFp32 : Backend::kCpuFlash;
  }
  return is_half(q_BHLD) && q_BHLD.size(3) % 8 == 0 && q_BHLD.size(3) <= 256 ? Backend::kCudaFlash
                                                                             : Backend::kCudaEfficient;
}

AttentionFp32Options fp32_options(const torch::Tensor& q_BHLD) {
  return {.scale = 1 / std::sqrt(static_cast<double>(q_BHLD.size(3)))};
}

std::vector<AttentionSequence> fp32_sequences(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHLD,
                                              const torch::Tensor& v_BHLD, const Attention& result) {
  std::vector<AttentionSequence> sequences;
  for (int64_t b = 0; b < q_BHLD.size(0); ++b) {
    sequences.push_back({q_BHLD.select(0, b), k_BHLD.select(0, b), v_BHLD.select(0, b), result.out_BHLD.select(0, b),
                         result.logsumexp_BHL.select(0, b)});
  }
  return sequences;
}

AttentionGradients fp32_gradients(const torch::Tensor& dout_BHLD, const torch::Tensor& q_BHLD,
                                  const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD, const Attention& forward) {
  const torch::Tensor dout = dout_BHLD.stride(3) == 1 ? dout_BHLD : dout_BHLD.contiguous();
  AttentionGradients grads = {empty_heads(q_BHLD), empty_heads(k_BHLD), empty_heads(v_BHLD)};
  std::vector<AttentionSequenceGradients> of_sequences;
  for (int64_t b = 0; b < q_BHLD.size(0); ++b) {
    of_sequences.push_back(
        {dout.select(0, b), grads.dq_BHLD.select(0, b), grads.dk_BHLD.select(0, b), grads.dv_BHLD.select(0, b)});
  }
  attention_fp32_backward(fp32_sequences(q_BHLD, k_BHLD, v_BHLD, forward), of_sequences, fp32_options(q_BHLD));
  return grads;
}

// Sample b alone, as a batch of one.
torch::Tensor sample_of(const torch::Tensor& x_BHLD, int64_t b) {
  return x_BHLD.narrow(0, b, 1);
}

// The keys or values of one sample that are attended to: the used part of its prefix, then all that follows.
torch::Tensor attended(const torch::Tensor& sample_1HLD, const PaddedPrefix& padding, int64_t used) {
  if (used == padding.size) return sample_1HLD.contiguous();
  return at::cat(
      {sample_1HLD.narrow(2, 0, used), sample_1HLD.narrow(2, padding.size, sample_1HLD.size(2) - padding.size)}, 2);
}

void check_padding(const torch::Tensor& q_BHLD, const PaddedPrefix& padding) {
  MILLRACE_CHECK(static_cast<int64_t>(padding.used.size()) == q_BHLD.size(0) && padding.size <= q_BHLD.size(2));
  for (const int64_t used : padding.used) MILLRACE_CHECK(used >= 0 && used <= padding.size);
}

bool leaves_out(const PaddedPrefix& padding) {
  return std::any_of(padding.used.begin(), padding.used.end(), [&](int64_t used) { return used < padding.size; });
}

Attention attention_by_sample(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD,
                              const PaddedPrefix& padding) {
  check_padding(q_BHLD, padding);
  Attention result;
  result.out_BHLD = empty_heads(q_BHLD);
  for (int64_t b = 0; b < q_BHLD.size(0); ++b) {
    const int64_t used = padding.used[static_cast<size_t>(b)];
    Attention sample = attention_forward(sample_of(q_BHLD, b), attended(sample_of(k_BHLD, b), padding, used),
                                         attended(sample_of(v_BHLD, b), padding, used));
    sample_of(result.out_BHLD, b).copy_(sample.out_BHLD);
    sample.out_BHLD = sample_of(result.out_BHLD, b);
    result.samples.push_back(std::move(sample));
  }
  return result;
}

AttentionGradients gradients_by_sample(const torch::Tensor& dout_BHLD, const torch::Tensor& q_BHLD,
                                       const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD,
                                       const Attention& forward, const PaddedPrefix& padding) {
  check_padding(q_BHLD, padding);
  AttentionGradients grads = {empty_heads(q_BHLD), empty_heads(k_BHLD), empty_heads(v_BHLD)};
  for (int64_t b = 0; b < q_BHLD.size(0); ++b) {
    const int64_t used = padding.used[static_cast<size_t>(b)], rest = k_BHLD.size(2) - padding.size;
    const AttentionGradients sample =
        attention_backward(sample_of(dout_BHLD, b), sample_of(q_BHLD, b), attended(sample_of(k_BHLD, b), padding, used),
                           attended(sample_of(v_BHLD, b), padding, used), forward.samples[static_cast<size_t>(b)]);
    sample_of(grads.dq_BHLD, b).copy_(sample.dq_BHLD);
    for (const auto& [whole, part] :
         {std::pair{grads.dk_BHLD, sample.dk_BHLD}, std::pair{grads.dv_BHLD, sample.dv_BHLD}}) {
      const torch::Tensor own = sample_of(whole, b);
      own.narrow(2, 0, used).copy_(part.narrow(2, 0, used));
      own.narrow(2, used, padding.size - used).zero_();
      own.narrow(2, padding.size, rest).copy_(part.narrow(2, used, rest));
    }
  }
  return grads;
}

}  // namespace

Attention attention_forward(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHLD, const torch::Tensor& v_BHLD,
                            const PaddedPrefix& padding) {
  const torch::NoGradGuard no_grad;
  if (leaves_out(padding)) return attention_by_sample(q_BHLD, k_BHLD, v_BHLD, padding);
  Attention result;
  switch (choose_backend(q_BHLD, k_BHLD, v_BHLD)) {
    case Backend::kShapesOnly: {
      result.out_BHLD = empty_heads(q_BHLD);
      result.logsumexp_BHL =
          torch::empty({q_BHLD.size(0), q_BHLD.size(1), q_BHLD.size(2)}, q_BHLD.options().dtype(torch::kFloat32));
      break;
    }
    case Backend::kCpuFp32: {
      result.out_BHLD = empty_heads(q_BHLD);
      result.logsumexp_BHL = torch::empty({q_BHLD.size(0), q_BHLD.size(1), q_BHLD.size(2)}, q_BHLD.options());
      attention_fp32_forward(fp32_sequences(q_BHLD, k_BHLD, v_BHLD, result), fp32_options(q_BHLD));
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
                                      const Attention& forward, const PaddedPrefix& padding) {
  const torch::NoGradGuard no_grad;
  if (leaves_out(padding)) return gradients_by_sample(dout_BHLD, q_BHLD, k_BHLD, v_BHLD, forward, padding);
  const DeterministicScope deterministic;
  AttentionGradients grads;
  switch (choose_backend(q_BHLD, k_BHLD, v_BHLD)) {
    case Backend::kShapesOnly: {
      // The half-precision kernels sum dq in fp32; if heads x samples are fewer than a GPU's multiprocessors, in
      // several such sums, which are not counted here.
      const torch::Tensor sums = is_half(q_BHLD) ? torch::empty_like(q_BHLD, torch::kFloat32) : torch::Tensor();
      grads = {empty_heads(q_BHLD), empty_heads(k_BHLD), empty_heads(v_BHLD)};
      break;
    }
    case Backend::kCpuFp32:
      grads = fp32_gradients(dout_BHLD, q_BHLD, k_BHLD, v_BHLD, forward);
      break;
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
                               const torch::Tensor& bias_1HLL, double scale, const std::vector<int64_t>& lengths) {
  const int64_t tokens = q_BHLD.size(2);
  if (std::any_of(lengths.begin(), lengths.end(), [&](int64_t length) { return length < tokens; })) {
    MILLRACE_CHECK(static_cast<int64_t>(lengths.size()) == q_BHLD.size(0));
    std::vector<torch::Tensor> samples_1LE;
    for (int64_t b = 0; b < q_BHLD.size(0); ++b) {
      const int64_t length = lengths[static_cast<size_t>(b)];
      const auto own = [&](const torch::Tensor& x_BHLD) { return sample_of(x_BHLD, b).narrow(2, 0, length); };
      const torch::Tensor bias = bias_1HLL.narrow(2, 0, length).narrow(3, 0, length).contiguous();
      const torch::Tensor out_1LE = biased_attention(own(q_BHLD), own(k_BHLD), own(v_BHLD), bias, scale);
      samples_1LE.push_back(at::constant_pad_nd(out_1LE, {0, 0, 0, tokens - length}));
    }
    return at::cat(samples_1LE, 0);
  }
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
