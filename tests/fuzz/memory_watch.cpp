#include "memory_watch.h"

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <new>

namespace {

thread_local size_t live_bytes = 0;
thread_local size_t peak_live_bytes = 0;

void* counted_allocate_or_null(size_t size, size_t alignment) {
  void* memory = alignment ? std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                           : std::malloc(std::max<size_t>(size, 1));
  if (!memory) return nullptr;
  live_bytes += malloc_usable_size(memory);
  peak_live_bytes = std::max(peak_live_bytes, live_bytes);
  return memory;
}

void* counted_allocate(size_t size, size_t alignment) {
  void* memory = counted_allocate_or_null(size, alignment);
  if (!memory) throw std::bad_alloc();
  return memory;
}

void counted_free(void* memory) {
  if (!memory) return;
  // What another thread allocated would wrap around.
  live_bytes -= std::min(live_bytes, malloc_usable_size(memory));
  std::free(memory);
}

}  // namespace

void* operator new(size_t size) {
  return counted_allocate(size, 0);
}
void* operator new[](size_t size) {
  return counted_allocate(size, 0);
}
void* operator new(size_t size, std::align_val_t alignment) {
  return counted_allocate(size, static_cast<size_t>(alignment));
}
void* operator new[](size_t size, std::align_val_t alignment) {
  return counted_allocate(size, static_cast<size_t>(alignment));
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return counted_allocate_or_null(size, 0);
}
void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return counted_allocate_or_null(size, 0);
}
void operator delete(void* memory) noexcept {
  counted_free(memory);
}
void operator delete[](void* memory) noexcept {
  counted_free(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
  counted_free(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
  counted_free(memory);
}
void operator delete(void* memory, size_t) noexcept {
  counted_free(memory);
}
void operator delete[](void* memory, size_t) noexcept {
  counted_free(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  counted_free(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  counted_free(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  counted_free(memory);
}
void operator delete[](void* memory, size_t, std::align_val_t) noexcept {
  counted_free(memory);
}

namespace millrace {

MemoryWatch::MemoryWatch() : live_at_start_(live_bytes) {
  peak_live_bytes = live_bytes;
}

size_t MemoryWatch::peak_bytes() const {
  return peak_live_bytes - live_at_start_;
}

size_t peak_resident_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<size_t>(usage.ru_maxrss) * 1024;
}

}  // namespace millrace
