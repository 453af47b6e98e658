#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/inspect/stats_report.h"
#include "formats/tensorboard.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTags = 100'000;

struct TagSummary {
  EventValue::Kind kind = EventValue::Kind::kOther;
  uint64_t count = 0;
  int64_t first_step = 0;
  int64_t last_step = 0;
  double first = 0, last = 0, min = 0, max = 0;
};

const char* kind_name(EventValue::Kind kind) {
  switch (kind) {
    case EventValue::Kind::kScalar:
      return "scalar";
    case EventValue::Kind::kImage:
      return "image";
    case EventValue::Kind::kText:
      return "text";
    case EventValue::Kind::kOther:
      break;
  }
  return "other";
}

void add(TagSummary& summary, const EventValue& value) {
  if (summary.count == 0) {
    summary = {value.kind, 0, value.step, value.step, value.scalar, value.scalar, value.scalar, value.scalar};
  }
  ++summary.count;
  summary.last_step = value.step;
  summary.last = value.scalar;
  summary.min = std::fmin(summary.min, value.scalar);
  summary.max = std::fmax(summary.max, value.scalar);
}

std::vector<fs::path> event_files(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (starts_with(entry.path().filename().string(), "events.out.tfevents.")) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

Report inspect_events(const fs::path& path, const InspectOptions& options) {
  std::map<std::string, TagSummary> tags;
  Report files = Report::array();
  for (const fs::path& file : event_files(path)) {
    const EventFileEnd end = read_events(file, [&](const EventValue& value) {
      if (!is_valid_utf8(value.tag) || !options.is_wanted(value.tag)) return;
      if (tags.size() < kMaxTags || tags.count(value.tag)) add(tags[value.tag], value);
    });
    files.push_back({{"name", file.filename().string()}, {"records", end.records}, {"is_cut_short", end.is_cut_short}});
  }
  Report listed = Report::array();
  for (const auto& [tag, summary] : tags) {
    Report entry = {{"tag", tag},
                    {"type", kind_name(summary.kind)},
                    {"count", summary.count},
                    {"first_step", summary.first_step},
                    {"last_step", summary.last_step}};
    if (summary.kind == EventValue::Kind::kScalar) {
      entry["first"] = number_or_null(summary.first);
      entry["last"] = number_or_null(summary.last);
      entry["min"] = number_or_null(summary.min);
      entry["max"] = number_or_null(summary.max);
    }
    listed.push_back(std::move(entry));
  }
  return {{"kind", "events"}, {"path", path.string()}, {"files", std::move(files)}, {"tags", std::move(listed)}};
}

}  // namespace millrace
