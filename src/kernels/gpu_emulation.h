// Runs GPU kernels on a CPU, for tests: included by gpu_portability.cuh if neither nvcc nor hipcc compiles.
//
// The threads of a block are coroutines of one CPU thread. A wave runs until all of its threads wait at __syncthreads()
// or have returned; only then does the next one run, in an order that the test chooses. A kernel whose result depends
// on that order lacks a barrier; one whose result depends on the wave width relies on it wrongly. Dynamic shared
// memory is full of NaNs at the start of each block.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __shared__ static

namespace millrace {

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned nx = 1, unsigned ny = 1, unsigned nz = 1) : x(nx), y(ny), z(nz) {}
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};

inline thread_local dim3 threadIdx, blockIdx, blockDim, gridDim;

struct EmulatedGpu {
  enum class Order { kForward, kReverse };  // of waves, and of the threads in each
  bool enabled = true;                      // false: the CPU's own kernels take its tensors
  int wave = 32;                            // threads that run in lockstep: 32 or 64
  Order order = Order::kForward;
  int64_t shared_memory = 96 * 1024;  // available to kernels
  int64_t launches = 0, switches = 0;
};
inline EmulatedGpu& emulated_gpu() {
  static EmulatedGpu gpu;
  return gpu;
}

// One block: makes its threads take turns until all have returned.
class EmulatedBlock {
 public:
  static EmulatedBlock& current() {
    static EmulatedBlock block;
    return block;
  }

  // Throws std::logic_error for anything that would hang a GPU or be undefined on it.
  void run(dim3 threads, size_t shared_bytes, const std::function<void()>& body) {
    shared_.assign((shared_bytes + sizeof(float4) - 1) / sizeof(float4), float4{});
    if (shared_bytes > 0) std::memset(static_cast<void*>(shared_.data()), 0xFF, shared_.size() * sizeof(float4));
    error_.clear();
    body_ = &body;
    const size_t count = static_cast<size_t>(threads.x) * threads.y * threads.z;
    if (lanes_.size() < count) {
      lanes_.resize(count);
      coroutines_.resize(count);
    }
    for (size_t n = 0; n < count; ++n) {
      const auto i = static_cast<unsigned>(n);
      lanes_[n] = {.index = dim3(i % threads.x, i / threads.x % threads.y, i / threads.x / threads.y),
                   .state = State::kReady};
      Coroutine& coroutine = coroutines_[n];
      coroutine.stack.resize(kStackBytes);
      getcontext(&coroutine.context);
      coroutine.context.uc_stack.ss_sp = coroutine.stack.data();
      coroutine.context.uc_stack.ss_size = coroutine.stack.size();
      coroutine.context.uc_link = nullptr;  // enter() never returns
      makecontext(&coroutine.context, &EmulatedBlock::enter, 0);
      coroutine.started = false;
    }
    while (turn(count)) {
    }
    if (!error_.empty()) throw std::logic_error("[gpu_emulation] " + error_);
  }

  void barrier() { wait(State::kAtBarrier); }

  // Like HIP's __shfl_xor: lanes count from 0 within a wave; a lane beyond its group of `width` returns its own value.
  float exchange(float x, int mask, int width) {
    Lane& lane = lanes_[active_];
    const int wave = emulated_gpu().wave, self = static_cast<int>(active_) % wave;
    int source = self ^ mask;
    if (source >= ((self + width) & ~(width - 1))) source = self;
    lane.posted = x;
    lane.source = active_ - static_cast<size_t>(self) + static_cast<size_t>(source);
    ++lane.exchanges;
    wait(State::kExchanging);
    return lane.received;
  }

  void* shared() { return shared_.data(); }

 private:
  static constexpr size_t kStackBytes = 64 * 1024;
  enum class State { kReady, kAtBarrier, kExchanging, kDone };
  struct Lane {
    dim3 index;
    State state = State::kDone;
    float posted = 0, received = 0;
    size_t source = 0;
    int64_t exchanges = 0;
  };
  // A stack is entered by setcontext() once, then by longjmp(), which makes no system calls.
  struct Coroutine {
    ucontext_t context;
    jmp_buf place;
    bool started = false;
    std::vector<char> stack;
  };

  static void enter() {
    EmulatedBlock& block = current();
    (*block.body_)();
    block.lanes_[block.active_].state = State::kDone;
    _longjmp(block.scheduler_, 1);
  }

  void wait(State state) {
    lanes_[active_].state = state;
    if (_setjmp(coroutines_[active_].place) == 0) _longjmp(scheduler_, 1);
  }

  void resume(size_t n) {
    active_ = n;
    threadIdx = lanes_[n].index;
    ++emulated_gpu().switches;
    if (_setjmp(scheduler_) != 0) return;  // the coroutine has returned
    if (coroutines_[n].started) _longjmp(coroutines_[n].place, 1);
    coroutines_[n].started = true;
    setcontext(&coroutines_[n].context);
  }

  template <typename Visit>
  static void in_order(size_t begin, size_t end, Visit visit) {
    const bool reverse = emulated_gpu().order == EmulatedGpu::Order::kReverse;
    for (size_t i = begin; i < end; ++i) visit(reverse ? end - 1 - (i - begin) : i);
  }

  // Until no thread of the wave can continue without the other waves.
  void run_wave(size_t begin, size_t end) {
    bool exchanging = true;
    while (exchanging && error_.empty()) {
      in_order(begin, end, [&](size_t n) {
        if (lanes_[n].state == State::kReady) resume(n);
      });
      exchanging = false;
      for (size_t n = begin; n < end; ++n) {
        Lane& lane = lanes_[n];
        if (lane.state != State::kExchanging) continue;
        exchanging = true;
        if (lane.source >= end || lanes_[lane.source].state != State::kExchanging ||
            lanes_[lane.source].exchanges != lane.exchanges) {
          error_ = "thread " + std::to_string(n) + " wants the number of thread " + std::to_string(lane.source) +
                   ", which is elsewhere";
          return;
        }
        lane.received = lanes_[lane.source].posted;
      }
      for (size_t n = begin; n < end; ++n) {
        if (lanes_[n].state == State::kExchanging) lanes_[n].state = State::kReady;
      }
    }
  }

  // Runs to the next barrier; false when all threads have returned or an error was found.
  bool turn(size_t count) {
    const auto wave = static_cast<size_t>(emulated_gpu().wave);
    in_order(0, (count + wave - 1) / wave, [&](size_t w) { run_wave(w * wave, std::min(count, (w + 1) * wave)); });
    size_t waiting = 0;
    for (size_t n = 0; n < count; ++n) waiting += lanes_[n].state == State::kAtBarrier;
    if (!error_.empty() || waiting == 0) return false;
    if (waiting < count) {
      error_ = "a barrier that " + std::to_string(count - waiting) + " threads of the block never reach";
      return false;
    }
    for (size_t n = 0; n < count; ++n) lanes_[n].state = State::kReady;
    return true;
  }

  jmp_buf scheduler_;
  std::vector<Lane> lanes_;
  std::vector<Coroutine> coroutines_;
  std::vector<float4> shared_;
  const std::function<void()>* body_ = nullptr;
  size_t active_ = 0;
  std::string error_;
};

// Blocks run one after the other, so that shared memory declared in a kernel is a static variable.
template <typename... Parameters>
void emulate_launch(void (*kernel)(Parameters...), int64_t blocks, dim3 threads, size_t shared_bytes, void* /*stream*/,
                    Parameters... arguments) {
  ++emulated_gpu().launches;
  blockDim = threads;
  gridDim = dim3(static_cast<unsigned>(blocks));
  const bool reverse = emulated_gpu().order == EmulatedGpu::Order::kReverse;
  for (int64_t b = 0; b < blocks; ++b) {
    blockIdx = dim3(static_cast<unsigned>(reverse ? blocks - 1 - b : b));
    EmulatedBlock::current().run(threads, shared_bytes, [&] { kernel(arguments...); });
  }
}

inline void __syncthreads() {
  EmulatedBlock::current().barrier();
}
inline void* emulated_shared_memory() {
  return EmulatedBlock::current().shared();
}
inline uint32_t __float_as_uint(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
inline float __uint_as_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}
inline unsigned long long atomicMin(unsigned long long* at, unsigned long long x) {
  const unsigned long long before = *at;
  if (x < before) *at = x;
  return before;
}

}  // namespace millrace
