#include "kernels/adamw8bit/adamw8bit_raw.h"
#include "kernels/rounding_cuda.cuh"

namespace millrace {
namespace {

constexpr const char* kOp = "adamw8bit";
constexpr int kThreads = 256;  // one per element of a block of the quantisation
constexpr int64_t kMaxBlocks = 4096;

// The largest x of the block's threads, returned in each of them.
__device__ __forceinline__ float block_max(float x, float* scratch) {
  __syncthreads();  // the last use of scratch is over
  scratch[threadIdx.x] = x;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (static_cast<int>(threadIdx.x) < half) {
      const float other = scratch[threadIdx.x + half];
      if (other > scratch[threadIdx.x]) scratch[threadIdx.x] = other;
    }
    __syncthreads();
  }
  return scratch[0];
}

// The number of midpoints below x / scale: the code whose value is nearest.
__device__ __forceinline__ uint8_t encode(float x, float scale, const float* middles) {
  const float z = scale > 0 ? x / scale : 0.0f;
  int code = 0;
#pragma unroll
  for (int step = kCodes / 2; step > 0; step /= 2) {
    if (z > middles[code + step - 1]) code += step;
  }
  return static_cast<uint8_t>(code);
}

template <QuantizedPass pass, typename P, typename G>
__global__ void update_kernel(AdamW8bitArgs a, int64_t blocks) {
  __shared__ float m_values[kCodes], v_values[kCodes], m_middles[kCodes], v_middles[kCodes], scratch[kThreads];
  const int thread = static_cast<int>(threadIdx.x);
  m_values[thread] = a.m_values[thread];
  v_values[thread] = a.v_values[thread];
  m_middles[thread] = thread < kCodes - 1 ? a.m_middles[thread] : 0.0f;
  v_middles[thread] = thread < kCodes - 1 ? a.v_middles[thread] : 0.0f;
  __syncthreads();
  const float clip = a.clip_coefficient != nullptr ? *a.clip_coefficient : 1.0f;
  const int64_t lead = a.first_element % kThreads;
  for (int64_t block = blockIdx.x; block < blocks; block += gridDim.x) {
    const int64_t i = block * kThreads - lead + thread;
    const bool mine = i >= 0 && i < a.size;
    float m = 0, v = 0;
    if (mine) {
      const float g = to_float(static_cast<const G*>(a.grad)[i]) * clip;
      m = m_values[a.m_codes[i]] * a.m_scales[block] * a.beta1 + a.one_minus_beta1 * g;
      v = v_values[a.v_codes[i]] * a.v_scales[block] * a.beta2 + a.one_minus_beta2 * g * g;
    }
    float m_scale, v_scale;
    if constexpr (pass == QuantizedPass::kWithScales) {
      m_scale = a.new_m_scales[block];
      v_scale = a.new_v_scales[block];
    } else {
      m_scale = block_max(m < 0 ? -m : m, scratch);
      v_scale = block_max(v, scratch);
      // Every thread has read the old scales.
      if (thread == 0) {
        if constexpr (pass == QuantizedPass::kGatherScales) {
          if (m_scale > a.new_m_scales[block]) a.new_m_scales[block] = m_scale;
          if (v_scale > a.new_v_scales[block]) a.new_v_scales[block] = v_scale;
        } else {
          a.m_scales[block] = m_scale;
          a.v_scales[block] = v_scale;
        }
      }
    }
    if constexpr (pass != QuantizedPass::kGatherScales) {
      if (mine) {
        P* const param = static_cast<P*>(a.param);
        float p = to_float(param[i]) * a.decay - a.step_size * (m / (sqrtf(v) + a.eps));
        if constexpr (sizeof(P) == 2) {
          // One of the eight elements that share a block of random bits.
          const uint64_t element = static_cast<uint64_t>(a.first_element + i);
          uint32_t words[4] = {};
          if (a.stochastic) rounding_words(a.param_stream, element / kGroup, words);
          p = rounded<P>(p, a.stochastic, words, static_cast<int>(element % kGroup));
        }
        param[i] = from_float<P>(p);
        if (a.model_copy != nullptr) static_cast<bf16*>(a.model_copy)[i] = float_to_bf16(p);
        static_cast<G*>(a.grad)[i] = from_float<G>(0.0f);
        a.m_codes[i] = encode(m, m_scale, m_middles);
        a.v_codes[i] = encode(v, v_scale, v_middles);
      }
    }
  }
}

template <QuantizedPass pass>
void update(const AdamW8bitArgs& args, int64_t blocks, GpuStream stream) {
  const int64_t grid = blocks < kMaxBlocks ? blocks : kMaxBlocks;
  const bool is_exact = args.param_type == ElementType::kF32;
  if (args.grad_type == ElementType::kF32) {
    const auto kernel = is_exact ? update_kernel<pass, float, float> : update_kernel<pass, bf16, float>;
    launch(kOp, kernel, grid, kThreads, 0, stream, args, blocks);
  } else {
    const auto kernel = is_exact ? update_kernel<pass, float, bf16> : update_kernel<pass, bf16, bf16>;
    launch(kOp, kernel, grid, kThreads, 0, stream, args, blocks);
  }
}

}  // namespace

void adamw8bit_cuda(QuantizedPass pass, const AdamW8bitArgs& args, int64_t blocks, void* stream) {
  const auto gpu_stream = static_cast<GpuStream>(stream);
  switch (pass) {
    case QuantizedPass::kWhole:
      return update<QuantizedPass::kWhole>(args, blocks, gpu_stream);
    case QuantizedPass::kGatherScales:
      return update<QuantizedPass::kGatherScales>(args, blocks, gpu_stream);
    case QuantizedPass::kWithScales:
      return update<QuantizedPass::kWithScales>(args, blocks, gpu_stream);
  }
}

}  // namespace millrace
