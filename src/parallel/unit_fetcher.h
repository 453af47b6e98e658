// Copies units from host memory to a device ahead of their use, into two buffers.
//
// While a pass computes with the unit in one buffer, the next one is copied to the other, on a stream of its own. Units
// are only read, so nothing is copied back, and a buffer keeps its unit until another one takes its place: a backward
// pass begins with the two units that the forward pass ended with. On a CPU, copies are done when they are started.
#pragma once

#include <torch/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

#include "parallel/copy_stream.h"

namespace millrace {

class UnitFetcher {
 public:
  // host: the bytes of every unit, ascending in the order of a forward pass, in memory of copies.host_memory().
  // Allocates both buffers, as large as the largest unit.
  UnitFetcher(std::map<size_t, torch::Tensor> host, CopyStream copies);
  ~UnitFetcher();
  UnitFetcher(const UnitFetcher&) = delete;
  UnitFetcher& operator=(const UnitFetcher&) = delete;

  const torch::Tensor& host(size_t unit) const { return host_.at(unit); }
  // The unit's bytes on the device, for what is computed from now on until leave(). One unit is in use at a time.
  torch::Tensor enter(size_t unit);
  void leave();

  enum class Direction { kForward, kBackward };
  // Starts to copy the unit that a pass in this direction uses next after `unit`, which may be any of the model's,
  // unless a buffer has it.
  void fetch_after(size_t unit, Direction direction);

  std::vector<size_t> held() const;               // units in the buffers, ascending
  int64_t copies() const { return num_copies_; }  // started so far
  int64_t buffer_bytes() const;                   // of both buffers

 private:
  static constexpr size_t kNone = static_cast<size_t>(-1);

  struct Buffer {
    torch::Tensor bytes;
    size_t unit = kNone;
    int64_t last_entry = 0;      // counted over all entries
    CopyStream::Moment arrived;  // the copy to it is done
    CopyStream::Moment left;     // what was computed with it is done
  };
  Buffer* find(size_t unit);
  Buffer& start(size_t unit);

  std::map<size_t, torch::Tensor> host_;
  CopyStream copies_;
  std::array<Buffer, 2> buffers_;
  Buffer* in_use_ = nullptr;
  int64_t entries_ = 0, num_copies_ = 0;
};

}  // namespace millrace
