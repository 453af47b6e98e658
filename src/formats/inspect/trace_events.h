// The complete events of a Chrome trace, read as a stream (internal to formats/inspect/).
// https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU (Trace Event Format)
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

struct TraceEvent {
  uint32_t name = 0;      // index into Trace::names
  uint32_t category = 0;  // index into Trace::names
  uint32_t thread = 0;    // numbers process and thread together
  double begin = 0;       // microseconds
  double duration = 0;    // microseconds
};

struct Trace {
  std::vector<std::string> names;
  std::vector<TraceEvent> events;  // those with ph "X", in file order
  uint32_t thread_count = 0;
};

inline constexpr size_t kMaxTraceEvents = 20'000'000;  // 640 MB
inline constexpr size_t kMaxTraceDepth = 64;

// Throws DataError naming place for JSON that is damaged, nested too deep, or not a trace.
Trace parse_trace(std::string_view json, std::string_view place);

}  // namespace millrace
