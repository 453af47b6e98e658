// The memory that a model would need, without allocating it: counts the bytes of tensors on the meta device.
//
// A tensor on the meta device has a shape and no memory. Code that runs on such tensors allocates, keeps and drops them
// like real ones, so that counting their nominal bytes measures its memory use: 12 billion parameters in a second on
// a laptop.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace millrace {

// Counts while it lives, on all threads; only one at a time. Tensors may outlive it.
class MetaMemory {
 public:
  // rounding: how an allocator rounds a request in bytes; null: not at all.
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

// Tensors made on this thread while it lives are counted under the label; the innermost wins. Default: "other".
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
