#include "kernels/attention_fp32/attention_fp32.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <atomic>
#include <functional>

#include "base/error.h"
#include "kernels/attention_fp32/attention_fp32_blocks.h"
#include "kernels/cpu_level.h"

namespace millrace {
namespace {

// Of packed keys and values: 16 MiB, or one head's.
constexpr int64_t kPackedElements = int64_t{1} << 22;

bool is_tokens(const torch::Tensor& x, at::IntArrayRef sizes) {
  return x.is_cpu() && x.scalar_type() == torch::kFloat32 && x.sizes() == sizes &&
         (x.stride(-1) == 1 || x.size(-1) <= 1);
}

bool fit(const torch::Tensor& q_HLD, const torch::Tensor& k_KSD, const torch::Tensor& v_KSD) {
  const int64_t dims = q_HLD.dim();
  return dims >= 3 && k_KSD.dim() == dims && k_KSD.size(-3) > 0 && q_HLD.size(-3) % k_KSD.size(-3) == 0 &&
         k_KSD.size(-2) > 0 && q_HLD.size(-1) == k_KSD.size(-1) && is_tokens(q_HLD, q_HLD.sizes()) &&
         is_tokens(k_KSD, k_KSD.sizes()) && is_tokens(v_KSD, k_KSD.sizes());
}

void check(const AttentionSequence& sequence, const AttentionFp32Options& options) {
  const auto& [q, k, v, out, logsumexp] = sequence;
  MILLRACE_CHECK(q.dim() == 3 && fit(q, k, v) && is_tokens(out, q.sizes()));
  MILLRACE_CHECK(is_tokens(logsumexp, {q.size(0), q.size(1)}));
  MILLRACE_CHECK(options.window >= 0 && (options.causal ? q.size(1) == k.size(1) : options.window == 0));
}

HeadTokens tokens_of(const torch::Tensor& x_HLD, int64_t head) {
  return {static_cast<float*>(x_HLD.data_ptr()) + head * x_HLD.stride(0), x_HLD.stride(1)};
}

AttentionHead head_of(const AttentionSequence& sequence, int64_t head) {
  const int64_t key_head = head / (sequence.q_HLD.size(0) / sequence.k_KSD.size(0));
  return {tokens_of(sequence.q_HLD, head), tokens_of(sequence.k_KSD, key_head), tokens_of(sequence.v_KSD, key_head),
          tokens_of(sequence.out_HLD, head), tokens_of(sequence.logsumexp_HL, head).data};
}

AttentionBlocks blocks_of(const AttentionSequence& sequence, const AttentionFp32Options& options) {
  return {sequence.q_HLD.size(1),
          sequence.k_KSD.size(1),
          sequence.q_HLD.size(2),
          static_cast<float>(options.scale),
          {options.causal, options.window}};
}

// A head of keys with the query heads [first, end) that read it.
struct KeyHead {
  const AttentionSequence* sequence;
  const AttentionSequenceGradients* gradients;  // null in the forward pass
  AttentionBlocks blocks;
  int64_t first, end;
};

std::vector<KeyHead> key_heads_of(const std::vector<AttentionSequence>& sequences,
                                  const std::vector<AttentionSequenceGradients>& gradients,
                                  const AttentionFp32Options& options) {
  std::vector<KeyHead> heads;
  for (size_t s = 0; s < sequences.size(); ++s) {
    check(sequences[s], options);
    if (sequences[s].q_HLD.numel() == 0) continue;
    const int64_t key_heads = sequences[s].k_KSD.size(0), group = sequences[s].q_HLD.size(0) / key_heads;
    for (int64_t k = 0; k < key_heads; ++k) {
      heads.push_back({&sequences[s], gradients.empty() ? nullptr : &gradients[s], blocks_of(sequences[s], options),
                       k * group, (k + 1) * group});
    }
  }
  return heads;
}

// Each thread takes the next task until none is left.
void run(const std::vector<std::function<void(float* scratch)>>& tasks, int64_t scratch_size) {
  const auto count = static_cast<int64_t>(tasks.size());
  std::atomic<int64_t> next = 0;
  at::parallel_for(0, std::min<int64_t>(at::get_num_threads(), count), 1, [&](int64_t begin, int64_t end) {
    const torch::Tensor scratch = torch::empty({scratch_size}, torch::kFloat32);
    for (int64_t thread = begin; thread < end; ++thread) {
      for (int64_t task = next++; task < count; task = next++) {
        tasks[static_cast<size_t>(task)](scratch.data_ptr<float>());
      }
    }
  });
}

// As many heads of keys at a time as may be packed at once.
void forward_heads(const std::vector<KeyHead>& heads, size_t& next) {
  std::vector<std::function<void(float*)>> packing, computing;
  std::vector<torch::Tensor> memory;
  int64_t packed_size = 0, scratch_size = 0;
  for (; next < heads.size(); ++next) {
    const KeyHead& keys = heads[next];
    packed_size += keys.blocks.packed_size();
    if (packed_size > kPackedElements && !memory.empty()) break;
    memory.push_back(torch::empty({keys.blocks.packed_size()}, torch::kFloat32));
    float* const packed = memory.back().data_ptr<float>();
    for (int64_t block = 0; block < keys.blocks.key_blocks(); ++block) {
      packing.emplace_back(
          [&keys, block, packed](float*) { keys.blocks.pack(head_of(*keys.sequence, keys.first), block, packed); });
    }
    for (int64_t head = keys.first; head < keys.end; ++head) {
      for (int64_t block = 0; block < keys.blocks.query_blocks(); ++block) {
        computing.emplace_back([&keys, head, block, packed](float* scratch) {
          keys.blocks.forward(head_of(*keys.sequence, head), packed, block, scratch);
        });
      }
    }
    scratch_size = std::max(scratch_size, keys.blocks.scratch_size());
  }
  run(packing, 0);
  run(computing, scratch_size);
}

}  // namespace

bool suits_attention_fp32(const torch::Tensor& q_HLD, const torch::Tensor& k_KSD, const torch::Tensor& v_KSD,
                          bool causal) {
  return (has_bf16_tiles() || (causal && cpu_level() >= CpuLevel::kV3)) && fit(q_HLD, k_KSD, v_KSD);
}

void attention_fp32_forward(const std::vector<AttentionSequence>& sequences, const AttentionFp32Options& options) {
  const std::vector<KeyHead> heads = key_heads_of(sequences, {}, options);
  for (size_t next = 0; next < heads.size();) forward_heads(heads, next);
}

// One task does all that adds to the gradients of a head's keys, in order.
void attention_fp32_backward(const std::vector<AttentionSequence>& sequences,
                             const std::vector<AttentionSequenceGradients>& gradients,
                             const AttentionFp32Options& options) {
  MILLRACE_CHECK(sequences.size() == gradients.size());
  for (size_t s = 0; s < sequences.size(); ++s) {
    const auto& [q, k, v, out, logsumexp] = sequences[s];
    const auto& [dout, dq, dk, dv] = gradients[s];
    MILLRACE_CHECK(is_tokens(dout, q.sizes()) && is_tokens(dq, q.sizes()) && is_tokens(dk, k.sizes()) &&
                   is_tokens(dv, k.sizes()));
    dk.zero_();
    dv.zero_();
  }
  std::vector<std::function<void(float*)>> tasks;
  int64_t scratch_size = 0;
  const std::vector<KeyHead> heads = key_heads_of(sequences, gradients, options);
  for (const KeyHead& keys : heads) {
    tasks.emplace_back([&keys](float* scratch) {
      const int64_t key_head = keys.first / (keys.end - keys.first);
      float* const packed = scratch + keys.blocks.backward_scratch_size();
      for (int64_t block = 0; block < keys.blocks.key_blocks(); ++block) {
        keys.blocks.pack_backward(head_of(*keys.sequence, keys.first), block, packed);
      }
      for (int64_t head = keys.first; head < keys.end; ++head) {
        keys.blocks.backward(head_of(*keys.sequence, head),
                             {tokens_of(keys.gradients->dout_HLD, head), tokens_of(keys.gradients->dq_HLD, head),
                              tokens_of(keys.gradients->dk_KSD, key_head), tokens_of(keys.gradients->dv_KSD, key_head)},
                             packed, scratch);
      }
    });
    scratch_size = std::max(scratch_size, keys.blocks.backward_scratch_size() + keys.blocks.backward_packed_size());
  }
  run(tasks, scratch_size);
}

}  // namespace millrace
