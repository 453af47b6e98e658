#include "kernels/flat_update/flat_update_raw.h"
#include "kernels/rounding_cuda.cuh"

namespace millrace {
namespace {
__device__ __forceinline__ float square_root(float x) {
  return sqrtf(x);
}
}  // namespace
}  // namespace millrace

#define MILLRACE_RULE __device__ __forceinline__
#include "kernels/flat_update/flat_rules.h"

namespace millrace {
namespace {

constexpr const char* kOp = "flat_update";
constexpr int kThreads = 256;
constexpr int64_t kMaxBlocks = 1 << 16;
constexpr int64_t kMaxSummingBlocks = 2048;

// The block's sum in thread 0; in a fixed order.
__device__ __forceinline__ double block_sum(double x) {
  __shared__ double sums[kThreads];
  __syncthreads();  // the last use of sums is over
  sums[threadIdx.x] = x;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (static_cast<int>(threadIdx.x) < half) sums[threadIdx.x] += sums[threadIdx.x + half];
    __syncthreads();
  }
  return sums[0];
}

// Groups are counted in the whole buffer; this shard of it may start inside a group.
template <typename Rule, typename P, typename G>
__global__ void update_kernel(FlatUpdateArgs a, bool aligned, int64_t groups, double* partials) {
  const float clip = a.clip_coefficient != nullptr ? *a.clip_coefficient : 1.0f;
  const uint64_t first_group = a.first_element / kGroup;
  const int64_t lead = static_cast<int64_t>(a.first_element % kGroup);
  double totals[kFlatSums] = {};
  for (int64_t n = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; n < groups;
       n += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const int64_t at = n * kGroup - lead;  // of the group's first element in this shard; -7 at the least
    const int begin = at < 0 ? static_cast<int>(-at) : 0;
    const int end = a.size - at < kGroup ? static_cast<int>(a.size - at) : kGroup;
    const bool whole = aligned && end == kGroup;  // aligned: lead is 0, and so is begin

    uint32_t words[4] = {};
    if constexpr (Rule::kWritesParam && sizeof(P) == 2) {
      if (a.stochastic) rounding_words(a.param_stream, first_group + static_cast<uint64_t>(n), words);
    }
    float p[kGroup], g[kGroup] = {}, s[Rule::kStates > 0 ? Rule::kStates : 1][kGroup];
    load_group(static_cast<const P*>(a.param) + at, whole, begin, end, p);
    if constexpr (Rule::kReadsGrad) load_group(static_cast<const G*>(a.grad) + at, whole, begin, end, g);
#pragma unroll
    for (int k = 0; k < Rule::kStates; ++k) load_group(a.states[k] + at, whole, begin, end, s[k]);
    float group_sums[kFlatSums] = {};
#pragma unroll
    for (int j = 0; j < kGroup; ++j) {
      float mine[Rule::kStates > 0 ? Rule::kStates : 1], added[kFlatSums] = {};
#pragma unroll
      for (int k = 0; k < Rule::kStates; ++k) mine[k] = s[k][j];
      Rule::apply(a, p[j], g[j] * clip, mine, added);
#pragma unroll
      for (int k = 0; k < Rule::kStates; ++k) s[k][j] = mine[k];
#pragma unroll
      for (int k = 0; k < Rule::kSums; ++k) group_sums[k] += j >= begin && j < end ? added[k] : 0.0f;
      if constexpr (Rule::kWritesParam) p[j] = rounded<P>(p[j], a.stochastic, words, j);
    }
#pragma unroll
    for (int k = 0; k < Rule::kSums; ++k) totals[k] += static_cast<double>(group_sums[k]);
#pragma unroll
    for (int k = 0; k < Rule::kWrittenStates; ++k) store_group(a.states[k] + at, whole, begin, end, s[k]);
    if constexpr (Rule::kWritesParam) {
      store_group(static_cast<P*>(a.param) + at, whole, begin, end, p);
      if (a.model_copy != nullptr) store_group(static_cast<bf16*>(a.model_copy) + at, whole, begin, end, p);
      if (a.average != nullptr) {
        float average[kGroup];
        load_group(static_cast<const float*>(a.average) + at, whole, begin, end, average);
#pragma unroll
        for (int j = 0; j < kGroup; ++j) average[j] += a.one_minus_average_decay * (p[j] - average[j]);
        store_group(a.average + at, whole, begin, end, average);
      }
      const float zeros[kGroup] = {};
      store_group(static_cast<G*>(a.grad) + at, whole, begin, end, zeros);
    }
  }
  if constexpr (Rule::kSums > 0) {
#pragma unroll
    for (int k = 0; k < kFlatSums; ++k) {  // those that the rule does not have are 0
      const double sum = block_sum(totals[k]);
      if (threadIdx.x == 0) partials[static_cast<int64_t>(blockIdx.x) * kFlatSums + k] = sum;
    }
  }
}

__global__ void add_partials_kernel(const double* partials, int64_t count, double* totals) {
  for (int k = 0; k < kFlatSums; ++k) {
    double sum = 0;
    for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += partials[i * kFlatSums + k];
    sum = block_sum(sum);
    if (threadIdx.x == 0) totals[k] += sum;
  }
}

int64_t blocks_for(int64_t groups, int64_t most) {
  const int64_t wanted = (groups + kThreads - 1) / kThreads;
  return wanted < most ? wanted : most;
}

template <typename Rule, typename P, typename G>
void update(const FlatUpdateArgs& args, double* partials, double* sums, GpuStream stream) {
  bool aligned = args.first_element % kGroup == 0 && is_aligned(args.param, 16) && is_aligned(args.grad, 16) &&
                 is_aligned(args.model_copy, 16) && is_aligned(args.average, 16);
  for (int k = 0; k < Rule::kStates; ++k) aligned = aligned && is_aligned(args.states[k], 16);
  const int64_t lead = static_cast<int64_t>(args.first_element % kGroup);
  const int64_t groups = (lead + args.size + kGroup - 1) / kGroup;
  const int64_t blocks = blocks_for(groups, Rule::kSums > 0 ? kMaxSummingBlocks : kMaxBlocks);
  launch(kOp, update_kernel<Rule, P, G>, blocks, kThreads, 0, stream, args, aligned, groups, partials);
  if constexpr (Rule::kSums > 0) launch(kOp, add_partials_kernel, 1, kThreads, 0, stream, partials, blocks, sums);
}

template <typename Rule>
void update(const FlatUpdateArgs& args, double* partials, double* sums, GpuStream stream) {
  const bool narrow_grad = args.grad_type == ElementType::kBF16;
  if (args.param_type == ElementType::kF32) {
    narrow_grad ? update<Rule, float, bf16>(args, partials, sums, stream)
                : update<Rule, float, float>(args, partials, sums, stream);
  } else {
    narrow_grad ? update<Rule, bf16, bf16>(args, partials, sums, stream)
                : update<Rule, bf16, float>(args, partials, sums, stream);
  }
}

// In the order of FlatRule.
constexpr void (*kUpdates[kFlatRules])(const FlatUpdateArgs&, double*, double*, GpuStream) = {
    update<LionRule>,
    update<MomentumSgdRule>,
    update<PlainSgdRule>,
    update<ScheduleFreeRule>,
    update<ProdigyMomentsRule>,
    update<ScaledMomentsRule>,
    update<ProdigyStepRule>,
    update<ScheduleFreeStepRule>,
    update<DAdaptAdamMomentsRule>,
    update<DAdaptPreprintMomentsRule>,
    update<DAdaptLionMomentsRule>,
    update<DAdaptSgdMomentsRule>,
    update<DAdaptAdaGradMomentsRule>,
    update<DAdaptAdanMomentsRule>,
    update<DAdaptAdanIpMomentsRule>,
    update<AdanStepRule>,
    update<DualAveragingStepRule>,
    update<DualAveragingScaledStepRule>};

}  // namespace

int64_t flat_update_partials_size(int64_t size) {
  return kFlatSums * blocks_for((size + 2 * kGroup) / kGroup, kMaxSummingBlocks);
}

void flat_update_cuda(int rule, const FlatUpdateArgs& args, double* partials, double* sums, void* stream) {
  kUpdates[rule](args, partials, sums, static_cast<GpuStream>(stream));
}

}  // namespace millrace
