#include "kernels/adamw/adamw_raw.h"
#include "kernels/rounding_cuda.cuh"

namespace millrace {
namespace {

constexpr const char* kOp = "adamw";

// Groups are counted in the whole buffer; this shard of it may start inside a group.
template <typename P, typename G, typename M>
__global__ void update_kernel(AdamWArgs a, bool aligned, int64_t groups) {
  const float clip = a.clip_coefficient != nullptr ? *a.clip_coefficient : 1.0f;
  const uint64_t first_group = a.first_element / kGroup;
  const int64_t lead = static_cast<int64_t>(a.first_element % kGroup);
  for (int64_t n = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; n < groups;
       n += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const int64_t at = n * kGroup - lead;  // of the group's first element in this shard; -7 at the least
    const int begin = at < 0 ? static_cast<int>(-at) : 0;
    const int end = a.size - at < kGroup ? static_cast<int>(a.size - at) : kGroup;
    const bool whole = aligned && end == kGroup;  // aligned: lead is 0, and so is begin

    uint32_t param_words[4] = {}, exp_avg_words[4] = {}, exp_avg_sq_words[4] = {};
    if (a.stochastic) {
      const uint64_t group = first_group + static_cast<uint64_t>(n);
      if constexpr (sizeof(P) == 2) rounding_words(a.param_stream, group, param_words);
      if constexpr (sizeof(M) == 2) {
        rounding_words(a.exp_avg_stream, group, exp_avg_words);
        rounding_words(a.exp_avg_sq_stream, group, exp_avg_sq_words);
      }
    }
    float p[kGroup], g[kGroup], m[kGroup], v[kGroup];
    load_group(static_cast<const P*>(a.param) + at, whole, begin, end, p);
    load_group(static_cast<const G*>(a.grad) + at, whole, begin, end, g);
    load_group(static_cast<const M*>(a.exp_avg) + at, whole, begin, end, m);
    load_group(static_cast<const M*>(a.exp_avg_sq) + at, whole, begin, end, v);
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      const float gradient = g[j] * clip;
      p[j] *= a.decay;
      m[j] = m[j] + a.one_minus_beta1 * (gradient - m[j]);
      v[j] = v[j] * a.beta2 + a.one_minus_beta2 * gradient * gradient;
      m[j] = rounded<M>(m[j], a.stochastic, exp_avg_words, j);
      v[j] = rounded<M>(v[j], a.stochastic, exp_avg_sq_words, j);
      p[j] = p[j] - a.step_size * m[j] / (sqrtf(v[j]) / a.bias_correction2_sqrt + a.eps);
      p[j] = rounded<P>(p[j], a.stochastic, param_words, j);
    }
    store_group(static_cast<P*>(a.param) + at, whole, begin, end, p);
    store_group(static_cast<M*>(a.exp_avg) + at, whole, begin, end, m);
    store_group(static_cast<M*>(a.exp_avg_sq) + at, whole, begin, end, v);
    if (a.model_copy != nullptr) store_group(static_cast<bf16*>(a.model_copy) + at, whole, begin, end, p);
    if (a.ema != nullptr) {
      float average[kGroup];
      load_group(static_cast<const float*>(a.ema) + at, whole, begin, end, average);
#pragma unroll
      for (int j = 0; j < kGroup; ++j) average[j] += a.one_minus_ema_decay * (p[j] - average[j]);
      store_group(a.ema + at, whole, begin, end, average);
    }
    if (a.zero_grad) {
      const float zeros[kGroup] = {};
      store_group(static_cast<G*>(a.grad) + at, whole, begin, end, zeros);
    }
  }
}

template <typename P, typename G, typename M>
void update(const AdamWArgs& args, GpuStream stream) {
  constexpr int kThreads = 256;
  constexpr int64_t kMaxBlocks = 1 << 16;
  bool aligned = args.first_element % kGroup == 0;
  for (const void* p : {static_cast<const void*>(args.param), static_cast<const void*>(args.grad),
                        static_cast<const void*>(args.exp_avg), static_cast<const void*>(args.exp_avg_sq),
                        static_cast<const void*>(args.model_copy), static_cast<const void*>(args.ema)}) {
    aligned = aligned && is_aligned(p, 16);
  }
  const int64_t lead = static_cast<int64_t>(args.first_element % kGroup);
  const int64_t groups = (lead + args.size + kGroup - 1) / kGroup;
  const int64_t wanted = (groups + kThreads - 1) / kThreads;
  launch(kOp, update_kernel<P, G, M>, wanted < kMaxBlocks ? wanted : kMaxBlocks, kThreads, 0, stream, args, aligned,
         groups);
}

template <typename P, typename G>
void update(const AdamWArgs& args, GpuStream stream) {
  args.moment_type == ElementType::kF32 ? update<P, G, float>(args, stream) : update<P, G, bf16>(args, stream);
}
template <typename P>
void update(const AdamWArgs& args, GpuStream stream) {
  args.grad_type == ElementType::kF32 ? update<P, float>(args, stream) : update<P, bf16>(args, stream);
}

}  // namespace

void adamw_cuda(const AdamWArgs& args, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  args.param_type == ElementType::kF32 ? update<float>(args, gpu_stream) : update<bf16>(args, gpu_stream);
}

}  // namespace millrace
