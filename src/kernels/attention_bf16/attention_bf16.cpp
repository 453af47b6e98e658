#include "kernels/attention_bf16/attention_bf16.h"

#include <ATen/Parallel.h>

#include "base/error.h"
#include "kernels/attention_bf16/attention_bf16_raw.h"
#include "kernels/cpu_level.h"
#include "kernels/round_up.h"

namespace millrace {
namespace {

bool is_rows(const torch::Tensor& x, at::IntArrayRef sizes) {
  return x.is_cpu() && x.scalar_type() == torch::kBFloat16 && x.sizes() == sizes &&
         (x.stride(-1) == 1 || x.size(-1) <= 1);
}

bool fits(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHSD, const torch::Tensor& v_BHSD,
          const torch::Tensor& bias_HLS) {
  if (q_BHLD.dim() != 4 || k_BHSD.dim() != 4) return false;
  const int64_t heads = q_BHLD.size(1), queries = q_BHLD.size(2), keys = k_BHSD.size(2);
  return keys > 0 && is_rows(q_BHLD, q_BHLD.sizes()) &&
         is_rows(k_BHSD, {q_BHLD.size(0), heads, keys, q_BHLD.size(3)}) && is_rows(v_BHSD, k_BHSD.sizes()) &&
         (!bias_HLS.defined() || is_rows(bias_HLS, {heads, queries, keys}));
}

HeadRows head_of(const torch::Tensor& x_BHLD, int64_t b, int64_t h) {
  auto* const first = static_cast<uint16_t*>(x_BHLD.data_ptr());
  return {first + b * x_BHLD.stride(0) + h * x_BHLD.stride(1), x_BHLD.stride(2)};
}

// Points args at one thread's scratch memory, 64-byte aligned, and returns its owner.
torch::Tensor give_memory(AttentionBf16Args& args) {
  const int64_t keys = round_up(args.keys, kDepthStep), size = round_up(args.size, kDepthStep);
  const int64_t key_columns = round_up(args.keys, kPanelColumns), size_columns = round_up(args.size, kPanelColumns);
  int64_t words = 0;
  const auto place = [&](int64_t count) {
    const int64_t begin = words;
    words += round_up(count, 16);
    return begin;
  };
  const int64_t key_panels = place(key_columns * size / 2), value_panels = place(size_columns * keys / 2);
  const int64_t query_tile = place(kTileRows * size / 2), weight_tile = place(kTileRows * keys / 2);
  const int64_t scores = place(key_columns / kPanelColumns * kTileSums), sums = place(kTileSums);
  const int64_t weights = place(kTileRows * keys / 2);
  const torch::Tensor memory = torch::empty({words}, torch::kFloat32);
  float* const floats = memory.data_ptr<float>();
  void* const start = floats;
  args.key_panels = static_cast<uint32_t*>(start) + key_panels;
  args.value_panels = static_cast<uint32_t*>(start) + value_panels;
  args.query_tile = static_cast<uint32_t*>(start) + query_tile;
  args.weight_tile = static_cast<uint32_t*>(start) + weight_tile;
  args.scores = floats + scores;
  args.sums = floats + sums;
  args.weights = static_cast<uint16_t*>(start) + 2 * weights;
  return memory;
}

}  // namespace

bool suits_attention_bf16(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHSD, const torch::Tensor& v_BHSD,
                          const torch::Tensor& bias_HLS) {
  return fits(q_BHLD, k_BHSD, v_BHSD, bias_HLS) && is_amd_processor() && has_bf16_dot_products();
}

void attention_bf16(const torch::Tensor& out_BHLD, const torch::Tensor& q_BHLD, const torch::Tensor& k_BHSD,
                    const torch::Tensor& v_BHSD, const torch::Tensor& bias_HLS, double scale) {
  MILLRACE_CHECK(has_bf16_dot_products());
  MILLRACE_CHECK(fits(q_BHLD, k_BHSD, v_BHSD, bias_HLS) && is_rows(out_BHLD, q_BHLD.sizes()));
  if (out_BHLD.numel() == 0) return;

  const int64_t batch = q_BHLD.size(0), heads = q_BHLD.size(1);
  const torch::Tensor bias_1HLS = bias_HLS.defined() ? bias_HLS.unsqueeze(0) : bias_HLS;
  // Samples innermost: they share a head's bias.
  at::parallel_for(0, heads * batch, 1, [&](int64_t begin, int64_t end) {
    AttentionBf16Args args{};
    args.queries = q_BHLD.size(2), args.keys = k_BHSD.size(2), args.size = q_BHLD.size(3);
    args.scale = static_cast<float>(scale);
    const torch::Tensor memory = give_memory(args);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t h = i / batch, b = i % batch;
      args.q = head_of(q_BHLD, b, h), args.k = head_of(k_BHSD, b, h), args.v = head_of(v_BHSD, b, h);
      args.out = head_of(out_BHLD, b, h);
      if (bias_1HLS.defined()) args.bias = head_of(bias_1HLS, 0, h);
      attention_bf16_head(args);
    }
  });
}

}  // namespace millrace
