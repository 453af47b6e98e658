#include "base/block_arena.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "base/error.h"

namespace millrace {
namespace {

constexpr size_t kHugePage = size_t{2} << 20;
// Address space; only used parts are backed by memory. Blocks larger than half of it get their own segment.
constexpr size_t kSegment = size_t{1} << 30;

size_t aligned(size_t size) {
  return (size + kHugePage - 1) / kHugePage * kHugePage;
}

// In huge pages if the system has them: faulting in 4 KiB at a time costs a tenth of a training step.
std::byte* map_memory(size_t size) {
  const size_t with_slack = size + kHugePage;
  void* memory = ::mmap(nullptr, with_slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  auto* begin = static_cast<std::byte*>(memory);
  // The last huge page boundary with enough room: the system maps below earlier mappings, so segments are adjacent.
  auto* first = begin + kHugePage - reinterpret_cast<uintptr_t>(begin) % kHugePage;
  ::munmap(begin, static_cast<size_t>(first - begin));
  if (first + size < begin + with_slack) ::munmap(first + size, static_cast<size_t>(begin + with_slack - first) - size);
  ::madvise(first, size, MADV_HUGEPAGE);
  return first;
}

}  // namespace

BlockArena::~BlockArena() {
  for (const Segment& segment : segments_) ::munmap(segment.begin, segment.size);
}

std::byte* BlockArena::take(size_t size) {
  MILLRACE_CHECK(size > 0 && size % kGranule == 0);
  if (std::byte* block = take_known(size)) return block;
  return take_new(size);
}

std::byte* BlockArena::take_untouched(size_t size) {
  MILLRACE_CHECK(size > 0 && size % kGranule == 0);
  for (Segment& segment : segments_) {
    if (std::byte* block = take_end(segment, size)) return block;
  }
  return take_new(size);
}

std::byte* BlockArena::take_known(size_t size) {
  if (const auto best = by_size_.lower_bound({size, nullptr}); best != by_size_.end()) {
    const auto [found, block] = *best;
    erase(free_.find(block));
    if (found > size) insert(block + size, found - size);
    return block;
  }
  for (Segment& segment : segments_) {
    if (std::byte* block = grow(segment, size)) return block;
  }
  return nullptr;
}

std::byte* BlockArena::take_new(size_t size) {
  if (std::byte* block = take_new_segment(size)) return block;
  unmap_free_segments();
  return take_new_segment(size);
}

std::byte* BlockArena::take_new_segment(size_t size) {
  size_t length = size > kSegment / 2 ? aligned(size) : kSegment;
  std::byte* begin = map_memory(length);
  if (begin == nullptr) begin = map_memory(length = aligned(size));  // address space may be limited
  if (begin == nullptr) return nullptr;
  segments_.push_back({begin, length, 0});
  return take_end(segments_.back(), size);
}

// nullptr if too little of the segment has never been handed out.
std::byte* BlockArena::take_end(Segment& segment, size_t size) {
  if (segment.size - segment.used < size) return nullptr;
  std::byte* const block = segment.begin + segment.used;
  segment.used += size;
  return block;
}

void BlockArena::unmap_free_segments() {
  const auto is_unmapped = [&](const Segment& segment) {
    std::byte* end = segment.begin + segment.used;
    if (segment.used > 0) {
      auto block = free_.upper_bound(segment.begin);
      if (block == free_.begin()) return false;
      --block;
      const auto [block_begin, size] = *block;
      if (block_begin + size < end) return false;
      erase(block);
      // The free block may extend into adjacent segments: those parts are kept.
      if (block_begin < segment.begin) insert(block_begin, static_cast<size_t>(segment.begin - block_begin));
      if (block_begin + size > end) insert(end, static_cast<size_t>(block_begin + size - end));
    }
    ::munmap(segment.begin, segment.size);
    return true;
  };
  segments_.erase(std::remove_if(segments_.begin(), segments_.end(), is_unmapped), segments_.end());
}

// From memory never handed out, joined with a free block before it. nullptr if that is not enough.
std::byte* BlockArena::grow(Segment& segment, size_t size) {
  std::byte* end = segment.begin + segment.used;
  size_t before = 0;
  auto last = free_.lower_bound(end);
  if (segment.used > 0 && last != free_.begin()) {
    --last;
    if (last->first + last->second == end) before = last->second;
  }
  if (segment.size - segment.used + before < size) return nullptr;
  if (before > 0) erase(last);
  segment.used = segment.used - before + size;
  return end - before;
}

void BlockArena::give_back(std::byte* block, size_t size) {
  auto next = free_.lower_bound(block);
  if (next != free_.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second == block) {
      block = previous->first;
      size += previous->second;
      erase(previous);
    }
  }
  if (next != free_.end() && block + size == next->first) {
    size += next->second;
    erase(next);
  }
  insert(block, size);
}

void BlockArena::insert(std::byte* block, size_t size) {
  free_.emplace(block, size);
  by_size_.emplace(size, block);
  bytes_free_ += size;
}

void BlockArena::erase(Free::iterator block) {
  by_size_.erase({block->second, block->first});
  bytes_free_ -= block->second;
  free_.erase(block);
}

}  // namespace millrace
