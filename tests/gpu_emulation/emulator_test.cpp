// The emulator finds the faults that it is there for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "kernels/cuda_util.cuh"

namespace millrace {
namespace {

using Order = EmulatedGpu::Order;

template <typename... Parameters, typename... Arguments>
void run(int wave, Order order, unsigned threads, void (*kernel)(Parameters...), Arguments... arguments) {
  emulated_gpu() = {.wave = wave, .order = order};
  launch("test", kernel, 1, dim3(threads), 0, nullptr, arguments...);
}
template <typename... Arguments>
std::string error_of(Arguments... arguments) {
  try {
    run(arguments...);
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

__global__ void neighbours_kernel(float* out, bool with_barrier) {
  __shared__ float values[64];
  const unsigned i = threadIdx.x;
  values[i] = 0;
  __syncthreads();
  values[i] = static_cast<float>(i + 1);
  if (with_barrier) __syncthreads();
  out[i] = values[(i + 1) % 64];
}

TEST(Emulator, AMissingBarrierMakesTheResultDependOnTheOrder) {
  for (const bool with_barrier : {true, false}) {
    float forward[64], reverse[64];
    run(64, Order::kForward, 64, neighbours_kernel, forward, with_barrier);
    run(64, Order::kReverse, 64, neighbours_kernel, reverse, with_barrier);
    EXPECT_EQ(std::memcmp(forward, reverse, sizeof forward) == 0, with_barrier);
  }
}

// A kernel that wrongly assumes that every wave has 32 lanes and leaves the width to the hardware.
__global__ void whole_wave_kernel(float* out) {
  out[threadIdx.x] = EmulatedBlock::current().exchange(static_cast<float>(threadIdx.x), 32, emulated_gpu().wave);
}
__global__ void group_sum_kernel(float* out) {
  out[threadIdx.x] = lane_sum(static_cast<float>(threadIdx.x));
}

TEST(Emulator, OnlyAGroupOfItsOwnWidthIsTheSameOnEveryWave) {
  float narrow[64], wide[64];
  run(32, Order::kForward, 64, whole_wave_kernel, narrow);
  run(64, Order::kForward, 64, whole_wave_kernel, wide);
  EXPECT_EQ(narrow[0], 0);  // there is no lane 32
  EXPECT_EQ(wide[0], 32);
  run(32, Order::kForward, 64, group_sum_kernel, narrow);
  run(64, Order::kForward, 64, group_sum_kernel, wide);
  EXPECT_EQ(std::memcmp(narrow, wide, sizeof narrow), 0);
  EXPECT_EQ(wide[0], 31 * 32 / 2);
  EXPECT_EQ(wide[63], 31 * 32 / 2 + 32 * 32);
}

__global__ void some_return_kernel() {
  if (threadIdx.x == 7) return;
  __syncthreads();
}
__global__ void some_exchange_kernel(float* out) {
  if (threadIdx.x % 32 < 16) out[threadIdx.x] = lane_xor(1, 16);
}
__global__ void too_many_threads_kernel() {}

TEST(Emulator, WhatAGpuWouldHangAtIsAnError) {
  float out[64];
  EXPECT_THAT(error_of(32, Order::kForward, 64u, some_return_kernel),
              testing::HasSubstr("a barrier that 1 threads of the block never reach"));
  EXPECT_THAT(error_of(64, Order::kForward, 64u, some_exchange_kernel, out),
              testing::HasSubstr("thread 0 wants the number of thread 16, which is elsewhere"));
  EXPECT_THAT(error_of(32, Order::kForward, 257u, too_many_threads_kernel),
              testing::HasSubstr("expected 1 to 2147483647 blocks of at most 256 threads, got 1 of 257"));
}

// Rounding by bits, for compilers without bf16, against torch's.
TEST(Emulator, Bf16RoundsAsTorchDoes) {
  for (uint64_t n = 0; n < (1u << 20); ++n) {
    const float x = __uint_as_float(static_cast<uint32_t>(n * 4093));
    const uint16_t bits = float_to_bf16(x).bits;
    if (x != x) {
      EXPECT_EQ(bits, 0x7FC0u);
    } else {
      ASSERT_EQ(bits, static_cast<c10::BFloat16>(x).x) << x;
    }
  }
}

}  // namespace
}  // namespace millrace
