// Copies between a device and host memory beside the computation: on a GPU on a stream of their own, which is ordered
// against the stream of the computation by moments of either. Elsewhere a copy is done once it has been asked for, and
// there is nothing to wait for.
#pragma once

#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <torch/types.h>

#include <cstdint>
#include <memory>
#include <optional>

namespace millrace {

// A handle: its copies share the stream.
class CopyStream {
 public:
  explicit CopyStream(torch::Device device);

  // When all that one of the two streams had been asked for by then is done. Never marked: nothing to wait for.
  class Moment {
    friend class CopyStream;
    std::unique_ptr<c10::Event> event_;
  };

  torch::Device device() const { return device_; }
  // Uninitialised bytes (uint8, 1-D) in memory that the device can copy from and to by itself; on the meta device a
  // size alone.
  torch::Tensor host_memory(int64_t bytes) const;

  // Between the device and such memory; both of one size and dtype, contiguous.
  void copy(const torch::Tensor& to, const torch::Tensor& from) const;
  void mark_copied(Moment& moment) const;
  void mark_computed(Moment& moment) const;
  // What is asked for from now on waits for the moment, which may be marked anew meanwhile.
  void let_copies_wait(const Moment& moment) const;
  void let_computation_wait(const Moment& moment) const;

 private:
  c10::Stream computation() const;  // the current stream of the device
  void mark(Moment& moment, const c10::Stream& stream) const;

  torch::Device device_;
  std::optional<c10::Stream> stream_;  // none: copies are synchronous
};

}  // namespace millrace
