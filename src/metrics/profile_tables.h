// What a profile says in a few lines: the operators that took the most time, and what they were called by.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace millrace {

// One call of an operator on a thread of the host, or one kernel on a device.
struct ProfiledCall {
  std::string name;
  bool is_on_device = false;
  uint64_t thread = 0;  // of the host; calls of one thread nest
  uint64_t begin_ns = 0, duration_ns = 0;
  uint64_t number = 0;       // of a call on the host, for launched_by; 0: none
  uint64_t launched_by = 0;  // of a kernel: the number of the innermost call that started it; 0: unknown
  uint64_t flops = 0;
};

// A row for each name, with the columns of PyTorch's key_averages(): those with the longest time of their own (on the
// device, where there are kernels) first, at most max_rows of them.
std::string key_averages_table(const std::vector<ProfiledCall>& calls, bool with_flops, size_t max_rows = 25);

// A line for each stack of calls, "outermost;...;innermost 120": microseconds of the innermost's own time on the host,
// or where there are kernels, of those that it started. Sorted; the format of flamegraph.pl and speedscope.
std::string operator_stacks(const std::vector<ProfiledCall>& calls);

}  // namespace millrace
