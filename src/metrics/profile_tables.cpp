#include "metrics/profile_tables.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>
#include <unordered_map>

#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr size_t kNone = SIZE_MAX;

// Times in nanoseconds, of one call.
struct CallTimes {
  size_t caller = kNone;
  uint64_t self = 0;                           // on the host, without callees
  uint64_t device_self = 0, device_total = 0;  // of kernels that it started; with those of its callees
};

std::vector<CallTimes> times_of(const std::vector<ProfiledCall>& calls) {
  std::vector<CallTimes> times(calls.size());
  std::vector<size_t> order;
  for (size_t i = 0; i < calls.size(); ++i) {
    times[i].self = calls[i].duration_ns;
    if (!calls[i].is_on_device) order.push_back(i);
  }
  std::ranges::stable_sort(order, [&](size_t a, size_t b) {
    const ProfiledCall &x = calls[a], &y = calls[b];  // if two begin together, the longer one is the caller
    return std::tuple(x.thread, x.begin_ns, y.duration_ns) < std::tuple(y.thread, y.begin_ns, x.duration_ns);
  });
  std::vector<size_t> open;  // calls of the current thread that are not over
  for (const size_t i : order) {
    const ProfiledCall& call = calls[i];
    while (!open.empty()) {
      const ProfiledCall& top = calls[open.back()];
      if (top.thread == call.thread && call.begin_ns < top.begin_ns + top.duration_ns) break;
      open.pop_back();
    }
    if (!open.empty()) {
      const ProfiledCall& top = calls[open.back()];
      const uint64_t within = std::min(call.duration_ns, top.begin_ns + top.duration_ns - call.begin_ns);
      times[i].caller = open.back();
      times[open.back()].self -= std::min(within, times[open.back()].self);
    }
    open.push_back(i);
  }
  std::unordered_map<uint64_t, size_t> numbered;
  for (const size_t i : order) {
    if (calls[i].number != 0) numbered[calls[i].number] = i;
  }
  for (size_t i = 0; i < calls.size(); ++i) {
    if (!calls[i].is_on_device) continue;
    times[i] = {.self = 0, .device_self = calls[i].duration_ns, .device_total = calls[i].duration_ns};
    const auto launcher = numbered.find(calls[i].launched_by);
    if (calls[i].launched_by == 0 || launcher == numbered.end()) continue;
    times[launcher->second].device_self += calls[i].duration_ns;
    for (size_t at = launcher->second; at != kNone; at = times[at].caller) {
      times[at].device_total += calls[i].duration_ns;
    }
  }
  return times;
}

struct NameTotals {
  uint64_t self = 0, total = 0, device_self = 0, device_total = 0, flops = 0, count = 0;
};

std::string time_text(uint64_t ns) {
  const double us = static_cast<double>(ns) / 1e3;
  if (us >= 1e6) return format_double("%.3f", us / 1e6) + "s";
  if (us >= 1e3) return format_double("%.3f", us / 1e3) + "ms";
  return format_double("%.3f", us) + "us";
}

std::string percent_text(uint64_t part, uint64_t whole) {
  return format_double("%.2f", whole == 0 ? 0.0 : 100 * static_cast<double>(part) / static_cast<double>(whole)) + "%";
}

bool has_kernels(const std::vector<ProfiledCall>& calls) {
  return std::ranges::any_of(calls, &ProfiledCall::is_on_device);
}

std::string aligned(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      text += (i == 0 ? "" : "  ") + std::string(widths[i] - row[i].size(), ' ') + row[i];
    }
    text += "\n";
  }
  return text;
}

}  // namespace

std::string key_averages_table(const std::vector<ProfiledCall>& calls, bool with_flops, size_t max_rows) {
  const std::vector<CallTimes> times = times_of(calls);
  const bool on_device = has_kernels(calls);
  std::map<std::string, NameTotals> by_name;
  NameTotals all;
  for (size_t i = 0; i < calls.size(); ++i) {
    NameTotals& totals = by_name[calls[i].name];
    totals.self += times[i].self;
    totals.total += calls[i].is_on_device ? 0 : calls[i].duration_ns;
    totals.device_self += times[i].device_self;
    totals.device_total += times[i].device_total;
    totals.flops += calls[i].flops;
    ++totals.count;
    all.self += times[i].self;
    if (calls[i].is_on_device) all.device_self += calls[i].duration_ns;
  }
  std::vector<std::pair<std::string, NameTotals>> rows(by_name.begin(), by_name.end());
  std::ranges::stable_sort(rows, std::greater(), [&](const auto& row) {
    return std::pair(on_device ? row.second.device_self : 0, row.second.self);
  });
  if (rows.size() > max_rows) rows.resize(max_rows);

  std::vector<std::string> head = {"Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg"};
  if (on_device) head.insert(head.end(), {"Self GPU", "Self GPU %", "GPU total", "GPU time avg"});
  head.emplace_back("# of Calls");
  if (with_flops) head.emplace_back("Total MFLOPs");
  std::vector<std::vector<std::string>> table = {head};
  for (const auto& [name, sums] : rows) {
    std::vector<std::string> cells = {name,
                                      percent_text(sums.self, all.self),
                                      time_text(sums.self),
                                      percent_text(sums.total, all.self),
                                      time_text(sums.total),
                                      time_text(sums.total / sums.count)};
    if (on_device) {
      cells.insert(cells.end(), {time_text(sums.device_self), percent_text(sums.device_self, all.device_self),
                                 time_text(sums.device_total), time_text(sums.device_total / sums.count)});
    }
    cells.push_back(std::to_string(sums.count));
    if (with_flops) {
      cells.push_back(sums.flops == 0 ? "--" : format_double("%.3f", static_cast<double>(sums.flops) / 1e6));
    }
    table.push_back(std::move(cells));
  }
  std::string text = aligned(table) + "Self CPU time total: " + time_text(all.self) + "\n";
  if (on_device) text += "Self GPU time total: " + time_text(all.device_self) + "\n";
  return text;
}

std::string operator_stacks(const std::vector<ProfiledCall>& calls) {
  const std::vector<CallTimes> times = times_of(calls);
  const bool on_device = has_kernels(calls);
  std::map<std::string, uint64_t> by_stack;  // nanoseconds
  for (size_t i = 0; i < calls.size(); ++i) {
    const uint64_t own = on_device ? times[i].device_self : times[i].self;
    if (calls[i].is_on_device || own == 0) continue;
    std::string stack = calls[i].name;
    for (size_t at = times[i].caller; at != kNone; at = times[at].caller) stack = calls[at].name + ";" + stack;
    by_stack[stack] += own;
  }
  std::string text;
  for (const auto& [stack, ns] : by_stack) {
    if (ns >= 1000) text += str(stack, " ", ns / 1000, "\n");
  }
  return text;
}

}  // namespace millrace
