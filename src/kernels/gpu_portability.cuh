// The only file that knows which compiler a kernel is for: nvcc (CUDA), hipcc or amdclang++ (HIP, AMD), or a C++
// compiler, which runs kernels on a CPU in tests (gpu_emulation.h). Kernels use only the vocabulary below.
//
// Lanes. Threads exchange numbers in groups of kLanes = 32: a warp of NVIDIA's, a wave of AMD's RDNA, one half of a
// wave of AMD's CDNA, where 64 threads run in lockstep. No kernel queries the hardware's width, every shuffle passes
// its own, and a sum has the same order everywhere. blockDim.x is a multiple of kLanes wherever lanes exchange
// numbers.
//
// Numbers. IEEE division and square root, no fast math (cmake/Cuda.cmake, cmake/Hip.cmake). bf16 is the compiler's type
// or, without a header for it, 16 bits.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#elif defined(__HIPCC__)
#include <hip/hip_runtime.h>
#else
#include "kernels/gpu_emulation.h"
#endif

namespace millrace {
namespace {

constexpr int kLanes = 32;
constexpr int kMaxThreads = 256;  // per block: the number for which registers are allocated

#if defined(__CUDACC__)

using GpuStream = cudaStream_t;
using GpuStatus = cudaError_t;
constexpr GpuStatus kGpuSuccess = cudaSuccess;
inline const char* gpu_error_text(GpuStatus status) {
  return cudaGetErrorString(status);
}
inline GpuStatus last_launch_status() {
  return cudaGetLastError();
}

// The most shared memory a block uses if sums may also go to global memory: leaves room for a second block.
constexpr int64_t shared_memory_budget() {
  return 96 * 1024;
}
// Sets *limit to the maximum for a block on this device.
inline GpuStatus shared_memory_limit(int* limit) {
  int device = 0;
  const GpuStatus status = cudaGetDevice(&device);
  return status != kGpuSuccess ? status
                               : cudaDeviceGetAttribute(limit, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
}
template <typename Kernel>
GpuStatus allow_shared_memory(Kernel kernel, int bytes) {
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
}

using bf16 = __nv_bfloat16;
__device__ __forceinline__ float bf16_to_float(bf16 x) {
  return __bfloat162float(x);
}
__device__ __forceinline__ bf16 float_to_bf16(float x) {
  return __float2bfloat16_rn(x);
}

// x of the lane whose number in this group differs by the bits of `mask` (below kLanes). Called by the whole group.
__device__ __forceinline__ float lane_xor(float x, int mask) {
  return __shfl_xor_sync(0xFFFFFFFFu, x, mask);
}

// To global memory, in one instruction: nvcc makes four of an assignment whose operands come from several branches.
__device__ __forceinline__ void store_16_bytes(void* p, const uint4& words) {
  asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(p)), "r"(words.x),
               "r"(words.y), "r"(words.z), "r"(words.w)
               : "memory");
}

#else

#if defined(__HIPCC__)

using GpuStream = hipStream_t;
using GpuStatus = hipError_t;
constexpr GpuStatus kGpuSuccess = hipSuccess;
inline const char* gpu_error_text(GpuStatus status) {
  return hipGetErrorString(status);
}
inline GpuStatus last_launch_status() {
  return hipGetLastError();
}

// A compute unit has 64 KiB for all of its blocks; a block may use all of it without opting in.
constexpr int64_t shared_memory_budget() {
  return 64 * 1024;
}
inline GpuStatus shared_memory_limit(int* limit) {
  int device = 0;
  const GpuStatus status = hipGetDevice(&device);
  return status != kGpuSuccess ? status
                               : hipDeviceGetAttribute(limit, hipDeviceAttributeMaxSharedMemoryPerBlock, device);
}
template <typename Kernel>
GpuStatus allow_shared_memory(Kernel /*kernel*/, int /*bytes*/) {
  return kGpuSuccess;
}

__device__ __forceinline__ float lane_xor(float x, int mask) {
  return __shfl_xor(x, mask, kLanes);
}

#else

using GpuStream = void*;
using GpuStatus = int;
constexpr GpuStatus kGpuSuccess = 0;
inline const char* gpu_error_text(GpuStatus /*status*/) {
  return "";
}
inline GpuStatus last_launch_status() {
  return kGpuSuccess;
}

inline int64_t shared_memory_budget() {
  return emulated_gpu().shared_memory;
}
inline GpuStatus shared_memory_limit(int* limit) {
  *limit = static_cast<int>(emulated_gpu().shared_memory);
  return kGpuSuccess;
}
template <typename Kernel>
GpuStatus allow_shared_memory(Kernel /*kernel*/, int /*bytes*/) {
  return kGpuSuccess;
}

inline float lane_xor(float x, int mask) {
  return EmulatedBlock::current().exchange(x, mask, kLanes);
}

#endif

__device__ __forceinline__ void store_16_bytes(void* p, const uint4& words) {
  *static_cast<uint4*>(p) = words;
}

struct bf16 {
  uint16_t bits;
};
__device__ __forceinline__ float bf16_to_float(bf16 x) {
  return __uint_as_float(static_cast<uint32_t>(x.bits) << 16);
}
// To nearest, ties to even; every NaN becomes the same quiet one.
__device__ __forceinline__ bf16 float_to_bf16(float x) {
  if (x != x) return {0x7FC0u};
  const uint32_t word = __float_as_uint(x);
  return {static_cast<uint16_t>((word + 0x7FFFu + ((word >> 16) & 1u)) >> 16)};
}

#endif

inline void check_gpu(GpuStatus status, const char* op) {
  if (status == kGpuSuccess) return;
  throw std::runtime_error(std::string("[kernels/") + op +
                           "] expected a GPU kernel to start, got: " + gpu_error_text(status));
}

// Starts kernel<<<blocks, threads, shared_bytes, stream>>>(arguments...). Blocks lie along x, which holds 2^31 - 1; HIP
// counts threads in 32 bits besides.
template <typename... Parameters, typename... Arguments>
void launch(const char* op, void (*kernel)(Parameters...), int64_t blocks, dim3 threads, size_t shared_bytes,
            GpuStream stream, const Arguments&... arguments) {
  const int64_t block_size = int64_t{threads.x} * threads.y;
#if defined(__HIPCC__)
  const int64_t max_blocks = int64_t{4294967295} / (block_size > 0 ? block_size : 1);
#else
  const int64_t max_blocks = 2147483647;
#endif
  if (blocks < 1 || blocks > max_blocks || block_size > kMaxThreads) {
    throw std::runtime_error(std::string("[kernels/") + op + "] expected 1 to " + std::to_string(max_blocks) +
                             " blocks of at most " + std::to_string(kMaxThreads) + " threads, got " +
                             std::to_string(blocks) + " of " + std::to_string(block_size));
  }
#if defined(__CUDACC__) || defined(__HIPCC__)
  kernel<<<static_cast<unsigned>(blocks), threads, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
#else
  emulate_launch(kernel, blocks, threads, shared_bytes, stream, static_cast<Parameters>(arguments)...);
#endif
  check_gpu(last_launch_status(), op);
}

}  // namespace
}  // namespace millrace

// Shared memory whose size is set at launch: MILLRACE_DYNAMIC_SHARED(float4, sums) declares an array of float4.
#if defined(__CUDACC__) || defined(__HIPCC__)
#define MILLRACE_DYNAMIC_SHARED(type, name) extern __shared__ type name[]
#else
#define MILLRACE_DYNAMIC_SHARED(type, name) type* const name = static_cast<type*>(emulated_shared_memory())
#endif
