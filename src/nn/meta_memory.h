// What a model would take, without taking it: counts the bytes behind tensors of the meta device.
//
// A tensor of the meta device has a shape and no memory. Code that runs on such tensors allocates, keeps and drops them
// as it would real ones, so that counting what they stand for measures its memory: 12 billion parameters in a second on
// a laptop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace millrace {

// Counts while it lives; only one at a time, on any thread. Tensors may outlive it.
class MetaMemory {
 public:
  // rounding: what an allocator makes of a request in bytes; null: the bytes themselves.
  explicit MetaMemory(size_t (*rounding)(size_t bytes) = nullptr);
  ~MetaMemory();
  MetaMemory(const MetaMemory&) = delete;
  MetaMemory& operator=(const MetaMemory&) = delete;

  struct Use {
    int64_t bytes = 0;
    std::map<std::string, int64_t> by_label;
  };
  Use live() const;
  Use peak() const;  // the labels are those at the moment of the peak
  void restart_peak();

  struct Counter;

 private:
  std::shared_ptr<Counter> counter_;
};

// Tensors made on this thread while it lives are booked under the label; the innermost counts. Without one: "other".
class MetaMemoryLabel {
 public:
  explicit MetaMemoryLabel(const char* label);  // must outlive it
  ~MetaMemoryLabel();
  MetaMemoryLabel(const MetaMemoryLabel&) = delete;
  MetaMemoryLabel& operator=(const MetaMemoryLabel&) = delete;

 private:
  const char* previous_;
};

}  // namespace millrace
