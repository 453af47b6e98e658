#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "base/files.h"
#include "formats/inspect/stats_report.h"
#include "formats/inspect/trace_events.h"

namespace millrace {
namespace {

struct NameTotals {
  double self = 0;   // microseconds without callees
  double total = 0;  // microseconds
  uint64_t calls = 0;
};

// By category and name. Events of one thread nest: an event inside another was called by it.
using Totals = std::map<std::pair<uint32_t, uint32_t>, NameTotals>;

Totals sum_up(const Trace& trace) {
  std::vector<size_t> order(trace.events.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const TraceEvent &x = trace.events[a], &y = trace.events[b];
    // If two events begin together, the longer one is the caller.
    return std::tuple(x.thread, x.begin, -x.duration, a) < std::tuple(y.thread, y.begin, -y.duration, b);
  });
  Totals totals;
  std::vector<size_t> callers;  // open events of the current thread
  for (const size_t i : order) {
    const TraceEvent& event = trace.events[i];
    while (!callers.empty()) {
      const TraceEvent& top = trace.events[callers.back()];
      if (top.thread == event.thread && event.begin < top.begin + top.duration) break;
      callers.pop_back();
    }
    NameTotals& own = totals[{event.category, event.name}];
    own.self += event.duration;
    own.total += event.duration;
    ++own.calls;
    if (!callers.empty()) {
      const TraceEvent& caller = trace.events[callers.back()];
      const double within = std::min(event.duration, caller.begin + caller.duration - event.begin);
      totals[{caller.category, caller.name}].self -= within;
    }
    callers.push_back(i);
  }
  return totals;
}

}  // namespace

Report inspect_trace(const std::filesystem::path& path, const InspectOptions& options) {
  const MappedFile map(path);
  const std::string_view text(reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size());
  Trace trace = parse_trace(text, path.string());
  // The profiler's own window over all the others.
  std::erase_if(trace.events, [&](const TraceEvent& event) { return trace.names[event.category] == "Trace"; });
  double begin = INFINITY, end = -INFINITY;
  for (const TraceEvent& event : trace.events) {
    begin = std::min(begin, event.begin);
    end = std::max(end, event.begin + event.duration);
  }
  const Totals totals = sum_up(trace);
  std::map<uint32_t, double> self_by_category;
  for (const auto& [key, sums] : totals) self_by_category[key.first] += sums.self;
  std::vector<std::pair<std::pair<uint32_t, uint32_t>, NameTotals>> rows(totals.begin(), totals.end());
  std::erase_if(rows, [&](const auto& row) { return !options.is_wanted(trace.names[row.first.second]); });
  std::sort(rows.begin(), rows.end(), [](const auto& a, const auto& b) {
    return std::tuple(-a.second.self, a.first) < std::tuple(-b.second.self, b.first);
  });
  const size_t name_count = rows.size();
  if (options.max_listed > 0 && rows.size() > options.max_listed) rows.resize(options.max_listed);

  Report categories = Report::object(), names = Report::array();
  for (const auto& [category, self] : self_by_category)
    categories[trace.names[category]] = {{"self_us", number_or_null(self)}};
  for (const auto& [key, sums] : rows) {
    names.push_back({{"name", trace.names[key.second]},
                     {"category", trace.names[key.first]},
                     {"calls", sums.calls},
                     {"self_us", number_or_null(sums.self)},
                     {"total_us", number_or_null(sums.total)}});
  }
  return {{"kind", "trace"},
          {"path", path.string()},
          {"event_count", trace.events.size()},
          {"thread_count", trace.thread_count},
          {"span_us", number_or_null(trace.events.empty() ? 0 : end - begin)},
          {"categories", std::move(categories)},
          {"name_count", name_count},
          {"names", std::move(names)}};
}

}  // namespace millrace
