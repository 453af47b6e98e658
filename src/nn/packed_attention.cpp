// GPUs have a flash kernel for all documents at once in half precision, CPUs in fp32, for causal attention
// (kernels/attention_fp32). Else a kernel is called once for each document and each query head of a group, on views:
// keys and values are never copied once per query head, and gradients of a group's heads are summed in fp32. On CPUs
// that is ATen's flash kernel, on GPUs, for fp32, plain products.
//
// A window longer than a document has no effect. For those calls a shorter one is computed in chunks of queries: each
// chunk sees the keys from `window - 1` before its first query to its last query, under one small mask shared by all
// chunks.
#include "nn/packed_attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "base/error.h"
#include "kernels/attention_fp32/attention_fp32.h"
#include "nn/composed_attention.h"
#include "nn/deterministic_scope.h"
#include "nn/to_device.h"

namespace millrace {
namespace {

constexpr int64_t kWindowChunk = 256;  // queries

// A rectangle of scores for one kernel call: queries [q, q + queries) of a document's head against its keys
// [k, k + keys), indexed in the packed batch.
struct Piece {
  int64_t q = 0, queries = 0, k = 0, keys = 0;
  bool causal = false;  // the kernel's own triangle: q == k
  torch::Tensor mask;   // [queries, keys], added to the scores; undefined: none
};

// Adds -infinity where a query must not see a key. The first query is `lead` keys after the first key.
torch::Tensor window_mask(int64_t queries, int64_t keys, int64_t lead, int64_t window, torch::TensorOptions options) {
  const torch::Tensor query_Q1 = torch::arange(lead, lead + queries, torch::kInt64).unsqueeze(1);
  const torch::Tensor distance_QK = query_Q1 - torch::arange(keys, torch::kInt64).unsqueeze(0);
  const torch::Tensor hidden_QK = (distance_QK < 0).logical_or(distance_QK >= window);
  const torch::Tensor mask_QK = torch::zeros({queries, keys}, options.device(torch::kCPU));
  return copy_to_device(mask_QK.masked_fill_(hidden_QK, -std::numeric_limits<double>::infinity()), options.device());
}

std::vector<Piece> pieces_of(const Documents& documents, const PackedAttentionOptions& options,
                             const torch::TensorOptions& mask_options) {
  std::vector<Piece> pieces;
  torch::Tensor inner_mask;  // of a whole chunk with a whole window before it
  int64_t begin = 0;
  for (const int64_t length : documents.lengths()) {
    if (options.window == 0 || options.window >= length) {
      pieces.push_back({begin, length, begin, length, options.causal, {}});
    } else {
      for (int64_t q = 0; q < length; q += kWindowChunk) {
        const int64_t queries = std::min(kWindowChunk, length - q), lead = std::min(options.window - 1, q);
        const bool is_inner = queries == kWindowChunk && lead == options.window - 1;
        torch::Tensor mask = is_inner ? inner_mask : torch::Tensor();
        if (!mask.defined()) mask = window_mask(queries, lead + queries, lead, options.window, mask_options);
        if (is_inner) inner_mask = mask;
        pieces.push_back({begin + q, queries, begin + q - lead, lead + queries, false, mask});
      }
    }
    begin += length;
  }
  return pieces;
}

void check_shapes(const torch::Tensor& q_THD, const torch::Tensor& k_TKD, const torch::Tensor& v_TKD,
                  const Documents& documents, const PackedAttentionOptions& options) {
  MILLRACE_CHECK(q_THD.dim() == 3 && k_TKD.dim() == 3 && k_TKD.sizes() == v_TKD.sizes());
  MILLRACE_CHECK(q_THD.size(0) == documents.num_tokens() && k_TKD.size(0) == documents.num_tokens());
  MILLRACE_CHECK(q_THD.size(2) == k_TKD.size(2) && q_THD.size(1) % k_TKD.size(1) == 0);
  MILLRACE_CHECK(options.window == 0 || options.causal);
}

bool takes_flash(const torch::Tensor& q_THD) {
  const auto dtype = q_THD.scalar_type();
  return q_THD.is_cuda() && (dtype == torch::kBFloat16 || dtype == torch::kFloat16) && q_THD.size(2) % 8 == 0 &&
         q_THD.size(2) <= 256;
}

// Rows [begin, begin + tokens) of the heads first, first + step, ...: [1, heads, tokens, D], a view.
torch::Tensor heads_of(const torch::Tensor& x_THD, int64_t begin, int64_t tokens, int64_t first, int64_t step) {
  return x_THD.narrow(0, begin, tokens).slice(1, first, std::nullopt, step).transpose(0, 1).unsqueeze(0);
}

std::tuple<torch::Tensor, torch::Tensor> piece_forward(const torch::Tensor& q, const torch::Tensor& k,
                                                       const torch::Tensor& v, const Piece& piece) {
  if (!q.is_cpu()) return composed_attention_forward(q, k, v, piece.causal, piece.mask);
  const std::optional<torch::Tensor> mask = piece.mask.defined() ? std::optional(piece.mask) : std::nullopt;
  return at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, piece.causal, mask);
}
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> piece_backward(const torch::Tensor& dout,
                                                                       const torch::Tensor& q, const torch::Tensor& k,
                                                                       const torch::Tensor& v, const torch::Tensor& out,
                                                                       const torch::Tensor& logsumexp,
                                                                       const Piece& piece) {
  if (!q.is_cpu()) return composed_attention_backward(dout, q, k, v, out, logsumexp, piece.causal, piece.mask);
  const std::optional<torch::Tensor> mask = piece.mask.defined() ? std::optional(piece.mask) : std::nullopt;
  return at::_scaled_dot_product_flash_attention_for_cpu_backward(dout, q, k, v, out, logsumexp, 0.0, piece.causal,
                                                                  mask);
}

bool takes_attention_fp32(const torch::Tensor& q_THD, const torch::Tensor& k_TKD, const torch::Tensor& v_TKD,
                          const PackedAttentionOptions& options) {
  return suits_attention_fp32(q_THD.transpose(0, 1), k_TKD.transpose(0, 1), v_TKD.transpose(0, 1), options.causal);
}

AttentionFp32Options attention_fp32_options(const torch::Tensor& q_THD, const PackedAttentionOptions& options) {
  return {
      .scale = 1 / std::sqrt(static_cast<double>(q_THD.size(2))), .causal = options.causal, .window = options.window};
}

// The tokens of a document, its heads outermost.
torch::Tensor document_of(const torch::Tensor& x_THD, int64_t begin, int64_t length) {
  return x_THD.narrow(0, begin, length).transpose(0, 1);
}

std::vector<AttentionSequence> sequences_of(const torch::Tensor& q_THD, const torch::Tensor& k_TKD,
                                            const torch::Tensor& v_TKD, const PackedAttention& forward,
                                            const Documents& documents) {
  std::vector<AttentionSequence> sequences;
  int64_t begin = 0;
  for (const int64_t length : documents.lengths()) {
    sequences.push_back({document_of(q_THD, begin, length), document_of(k_TKD, begin, length),
                         document_of(v_TKD, begin, length), document_of(forward.out_THD, begin, length),
                         forward.logsumexps.front().narrow(1, begin, length)});
    begin += length;
  }
  return sequences;
}

std::vector<AttentionSequenceGradients> sequence_gradients_of(const torch::Tensor& dout_THD,
                                                              const PackedAttentionGradients& grads,
                                                              const Documents& documents) {
  std::vector<AttentionSequenceGradients> gradients;
  int64_t begin = 0;
  for (const int64_t length : documents.lengths()) {
    gradients.push_back({document_of(dout_THD, begin, length), document_of(grads.dq_THD, begin, length),
                         document_of(grads.dk_TKD, begin, length), document_of(grads.dv_TKD, begin, length)});
    begin += length;
  }
  return gradients;
}

std::optional<int64_t> left_window(const PackedAttentionOptions& options) {
  return options.window > 0 ? std::optional(options.window - 1) : std::nullopt;
}
std::optional<int64_t> right_window(const PackedAttentionOptions& options) {
  return options.window > 0 ? std::optional<int64_t>(0) : std::nullopt;
}

}  // namespace

Documents::Documents(std::vector<int64_t> lengths, torch::Device device) : lengths_(std::move(lengths)) {
  std::vector<int32_t> offsets = {0};
  for (const int64_t length : lengths_) {
    MILLRACE_CHECK(length >= 1 && num_tokens_ + length <= std::numeric_limits<int32_t>::max());
    num_tokens_ += length;
    longest_ = std::max(longest_, length);
    offsets.push_back(static_cast<int32_t>(num_tokens_));
  }
  offsets_ = copy_to_device(torch::tensor(offsets, torch::kInt32), device);
}

PackedAttention packed_attention_forward(const torch::Tensor& q_THD, const torch::Tensor& k_TKD,
                                         const torch::Tensor& v_TKD, const Documents& documents,
                                         const PackedAttentionOptions& options) {
  const torch::NoGradGuard no_grad;
  check_shapes(q_THD, k_TKD, v_TKD, documents, options);
  PackedAttention result;
  if (takes_flash(q_THD)) {
    torch::Tensor logsumexp, debug;
    std::tie(result.out_THD, logsumexp, result.rng_state, result.unused, debug) = at::_flash_attention_forward(
        q_THD, k_TKD, v_TKD, documents.offsets(), documents.offsets(), documents.longest(), documents.longest(), 0.0,
        options.causal, /*return_debug_mask=*/false, std::nullopt, left_window(options), right_window(options));
    result.logsumexps = {logsumexp};
    return result;
  }
  result.out_THD = torch::empty_like(q_THD, torch::MemoryFormat::Contiguous);
  if (q_THD.is_meta()) {
    result.logsumexps = {torch::empty({q_THD.size(1), q_THD.size(0)}, q_THD.options().dtype(torch::kFloat32))};
    return result;
  }
  if (takes_attention_fp32(q_THD, k_TKD, v_TKD, options)) {
    result.logsumexps = {torch::empty({q_THD.size(1), q_THD.size(0)}, torch::kFloat32)};
    attention_fp32_forward(sequences_of(q_THD, k_TKD, v_TKD, result, documents),
                           attention_fp32_options(q_THD, options));
    return result;
  }
  const int64_t group = q_THD.size(1) / k_TKD.size(1);
  for (const Piece& piece : pieces_of(documents, options, q_THD.options())) {
    const torch::Tensor k = heads_of(k_TKD, piece.k, piece.keys, 0, 1), v = heads_of(v_TKD, piece.k, piece.keys, 0, 1);
    for (int64_t member = 0; member < group; ++member) {
      const auto [out, logsumexp] = piece_forward(heads_of(q_THD, piece.q, piece.queries, member, group), k, v, piece);
      heads_of(result.out_THD, piece.q, piece.queries, member, group).copy_(out);
      result.logsumexps.push_back(logsumexp);
    }
  }
  return result;
}

PackedAttentionGradients packed_attention_backward(const torch::Tensor& dout_THD, const torch::Tensor& q_THD,
                                                   const torch::Tensor& k_TKD, const torch::Tensor& v_TKD,
                                                   const PackedAttention& forward, const Documents& documents,
                                                   const PackedAttentionOptions& options) {
  const torch::NoGradGuard no_grad;
  check_shapes(q_THD, k_TKD, v_TKD, documents, options);
  PackedAttentionGradients grads;
  if (takes_flash(q_THD)) {
    const DeterministicScope deterministic;
    std::tie(grads.dq_THD, grads.dk_TKD, grads.dv_TKD) = at::_flash_attention_backward(
        dout_THD, q_THD, k_TKD, v_TKD, forward.out_THD, forward.logsumexps.front(), documents.offsets(),
        documents.offsets(), documents.longest(), documents.longest(), 0.0, options.causal, forward.rng_state,
        forward.unused, std::nullopt, left_window(options), right_window(options));
    return grads;
  }
  grads.dq_THD = torch::empty_like(q_THD, torch::MemoryFormat::Contiguous);
  const bool takes_fp32 = takes_attention_fp32(q_THD, k_TKD, v_TKD, options);
  if (q_THD.is_meta() || takes_fp32) {
    grads.dk_TKD = torch::empty_like(k_TKD, torch::MemoryFormat::Contiguous);
    grads.dv_TKD = torch::empty_like(v_TKD, torch::MemoryFormat::Contiguous);
  }
  if (q_THD.is_meta()) return grads;
  if (takes_fp32) {
    attention_fp32_backward(sequences_of(q_THD, k_TKD, v_TKD, forward, documents),
                            sequence_gradients_of(dout_THD, grads, documents), attention_fp32_options(q_THD, options));
    return grads;
  }
  // Several query heads and, with a window, several chunks contribute to a key's gradient.
  const auto sums = k_TKD.options().dtype(torch::kFloat32);
  const torch::Tensor dk_TKD = torch::zeros(k_TKD.sizes(), sums), dv_TKD = torch::zeros(v_TKD.sizes(), sums);
  const int64_t group = q_THD.size(1) / k_TKD.size(1);
  size_t call = 0;
  for (const Piece& piece : pieces_of(documents, options, q_THD.options())) {
    const torch::Tensor k = heads_of(k_TKD, piece.k, piece.keys, 0, 1), v = heads_of(v_TKD, piece.k, piece.keys, 0, 1);
    for (int64_t member = 0; member < group; ++member) {
      const auto part = [&](const torch::Tensor& x_THD) {
        return heads_of(x_THD, piece.q, piece.queries, member, group);
      };
      const auto [dq, dk, dv] = piece_backward(part(dout_THD), part(q_THD), k, v, part(forward.out_THD),
                                               forward.logsumexps.at(call++), piece);
      part(grads.dq_THD).copy_(dq);
      heads_of(dk_TKD, piece.k, piece.keys, 0, 1).add_(dk);
      heads_of(dv_TKD, piece.k, piece.keys, 0, 1).add_(dv);
    }
  }
  grads.dk_TKD = dk_TKD.to(k_TKD.scalar_type());
  grads.dv_TKD = dv_TKD.to(v_TKD.scalar_type());
  return grads;
}

}  // namespace millrace
