// Memory for large blocks, taken from the system in long segments and returned only when the system runs out: a freed
// buffer later becomes part of another, larger or smaller one.
//
// Best fit with coalescing: a request gets the smallest free block that holds it, at the lowest address, and leaves the
// rest free; adjacent free blocks are merged. Memory never handed out before is used last, so that a training step,
// which requests the same blocks each time, touches hardly more memory than it uses at its peak.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace millrace {

// Sizes are multiples of kGranule. Not thread-safe.
class BlockArena {
 public:
  static constexpr size_t kGranule = 4096;

  BlockArena() = default;
  BlockArena(const BlockArena&) = delete;
  BlockArena& operator=(const BlockArena&) = delete;
  ~BlockArena();

  // nullptr when the system has no more memory.
  std::byte* take(size_t size);
  // The same, of memory never handed out before: zeros, which the system provides when they are first touched.
  std::byte* take_untouched(size_t size);
  void give_back(std::byte* block, size_t size);

  size_t bytes_free() const { return bytes_free_; }  // of what has been handed out before

 private:
  struct Segment {
    std::byte* begin;
    size_t size;
    size_t used;  // bytes at the start that have been handed out at some time
  };
  using Free = std::map<std::byte*, size_t>;

  std::byte* take_known(size_t size);
  std::byte* take_new(size_t size);
  std::byte* take_new_segment(size_t size);
  std::byte* grow(Segment& segment, size_t size);
  static std::byte* take_end(Segment& segment, size_t size);
  void unmap_free_segments();
  void insert(std::byte* block, size_t size);
  void erase(Free::iterator block);

  std::vector<Segment> segments_;
  Free free_;
  std::set<std::pair<size_t, std::byte*>> by_size_;  // the same blocks
  size_t bytes_free_ = 0;
};

}  // namespace millrace
