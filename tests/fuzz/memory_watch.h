// How much memory a piece of code asks for: operator new is counted in this program.
#pragma once

#include <cstddef>

namespace millrace {

// The largest sum of live allocations through operator new, by this thread, since it was made.
class MemoryWatch {
 public:
  MemoryWatch();
  size_t peak_bytes() const;

 private:
  size_t live_at_start_;
};

// The most memory the process ever had, in bytes, malloc's of C libraries included; it never falls.
size_t peak_resident_bytes();

}  // namespace millrace
