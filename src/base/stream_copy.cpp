#include "base/stream_copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>

#ifdef __SSE2__  // every x86-64; wider registers would not be faster: memory is the bottleneck
#include <emmintrin.h>
#endif

namespace millrace {

#ifdef __SSE2__

void stream_copy(void* target, const void* source, size_t size) {
  constexpr size_t kLine = 64;
  auto* to = static_cast<std::byte*>(target);
  const auto* from = static_cast<const std::byte*>(source);
  const size_t head = std::min(size, (kLine - reinterpret_cast<uintptr_t>(to) % kLine) % kLine);
  std::memcpy(to, from, head);
  to += head;
  from += head;
  size -= head;
  for (; size >= kLine; size -= kLine, to += kLine, from += kLine) {
    const auto* words = reinterpret_cast<const __m128i*>(from);
    auto* line = reinterpret_cast<__m128i*>(to);
    const __m128i a = _mm_loadu_si128(words), b = _mm_loadu_si128(words + 1), c = _mm_loadu_si128(words + 2),
                  d = _mm_loadu_si128(words + 3);
    _mm_stream_si128(line, a);
    _mm_stream_si128(line + 1, b);
    _mm_stream_si128(line + 2, c);
    _mm_stream_si128(line + 3, d);
  }
  std::memcpy(to, from, size);
  _mm_sfence();  // before any thread is told that the copy is complete
}

#else

void stream_copy(void* target, const void* source, size_t size) {
  std::memcpy(target, source, size);
}

#endif

}  // namespace millrace
