#include <algorithm>
#include <map>
#include <vector>

#include "base/error.h"
#include "base/folder_walk.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/text.h"
#include "formats/inspect/inspect.h"
#include "formats/quote.h"
#include "formats/tar.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxListedSamples = 100'000;
constexpr size_t kMaxExtensions = 1000;  // more are counted together: a shard has a handful

struct ExtensionCount {
  uint64_t count = 0;
  uint64_t bytes = 0;
};

// Groups members like webdataset: neighbours with the same key are one sample. The key is the name up to the first dot
// after the last slash.
class ShardSummary {
 public:
  ShardSummary(const InspectOptions& options, size_t max_listed) : options_(options), max_listed_(max_listed) {}

  void add(const TarEntry& entry) {
    const size_t slash = entry.name.rfind('/');
    const size_t dot = entry.name.find('.', slash == std::string::npos ? 0 : slash + 1);
    const std::string key = as_utf8(entry.name.substr(0, dot));
    const std::string extension = dot == std::string::npos ? "" : as_utf8(entry.name.substr(dot + 1));
    ++members_;
    bytes_ += entry.size;
    const bool is_known = extensions_.count(extension) || extensions_.size() < kMaxExtensions;
    ExtensionCount& count = extensions_[is_known ? extension : "(others)"];
    ++count.count;
    count.bytes += entry.size;
    if (members_ == 1 || key != key_) begin_sample(key);
    if (is_listed_) samples_.back()["members"][extension] = entry.size;
  }

  void write(Report& report) {
    report["sample_count"] = sample_count_;
    report["member_count"] = members_;
    report["bytes"] = bytes_;
    Report extensions = Report::object();
    for (const auto& [name, count] : extensions_) extensions[name] = {{"count", count.count}, {"bytes", count.bytes}};
    report["extensions"] = std::move(extensions);
    report["samples"] = std::move(samples_);
  }
  void add_to(std::map<std::string, ExtensionCount>& totals) const {
    for (const auto& [name, count] : extensions_) {
      totals[name].count += count.count;
      totals[name].bytes += count.bytes;
    }
  }
  uint64_t sample_count() const { return sample_count_; }
  uint64_t member_count() const { return members_; }
  uint64_t bytes() const { return bytes_; }

 private:
  void begin_sample(const std::string& key) {
    key_ = key;
    ++sample_count_;
    is_listed_ = samples_.size() < max_listed_ && options_.is_wanted(key);
    if (is_listed_) samples_.push_back({{"key", key}, {"members", Report::object()}});
  }

  const InspectOptions& options_;
  const size_t max_listed_;
  std::string key_;
  bool is_listed_ = false;
  uint64_t sample_count_ = 0;
  uint64_t members_ = 0;
  uint64_t bytes_ = 0;
  std::map<std::string, ExtensionCount> extensions_;
  Report samples_ = Report::array();
};

// Whether the shard has its end mark.
bool read_shard(const fs::path& path, ShardSummary& summary) {
  TarReader reader(path);
  while (const auto entry = reader.next()) summary.add(*entry);
  return reader.has_end_mark();
}

std::vector<fs::path> shards_below(const fs::path& folder) {
  const FolderWalk walk = walk_folder(folder, [](std::string_view name) {
    if (has_tar_name(name)) return NameKind::kWanted;
    return name.find(".tar") == std::string_view::npos ? NameKind::kOther : NameKind::kDoubtful;
  });
  if (walk.passed_over.count() > 0)
    log_warning("[", printable(folder.string()), "] passed over ", walk.passed_over.text());
  return walk.files;
}

}  // namespace

Report inspect_tar(const fs::path& path, const InspectOptions& options) {
  Report report = {{"kind", "tar"}, {"path", path.string()}};
  const size_t limit = options.max_listed ? options.max_listed : kMaxListedSamples;
  ShardSummary summary(options, std::min(limit, kMaxListedSamples));
  report["has_end_mark"] = read_shard(path, summary);
  summary.write(report);
  return report;
}

Report inspect_data_set(const fs::path& path, const InspectOptions& options) {
  Report shards = Report::array();
  std::map<std::string, ExtensionCount> totals;
  uint64_t samples = 0, members = 0, bytes = 0, damaged = 0;
  for (const fs::path& shard : shards_below(path)) {
    const std::string name = as_utf8(shard.lexically_relative(path).string());
    if (!options.is_wanted(name)) continue;
    ShardSummary summary(options, 0);
    Report entry = {{"name", name}};
    // One bad shard among many must not hide the others.
    try {
      const bool has_end_mark = read_shard(shard, summary);
      entry["has_end_mark"] = has_end_mark;
      damaged += has_end_mark ? 0 : 1;
    } catch (const Error& error) {
      entry["damage"] = as_utf8(error.what());
      ++damaged;
    }
    entry["sample_count"] = summary.sample_count();
    entry["member_count"] = summary.member_count();
    entry["bytes"] = summary.bytes();
    summary.add_to(totals);
    samples += summary.sample_count();
    members += summary.member_count();
    bytes += summary.bytes();
    shards.push_back(std::move(entry));
  }
  Report extensions = Report::object();
  for (const auto& [name, count] : totals) extensions[name] = {{"count", count.count}, {"bytes", count.bytes}};
  return {{"kind", "data set"},
          {"path", path.string()},
          {"shard_count", shards.size()},
          {"damaged_count", damaged},
          {"sample_count", samples},
          {"member_count", members},
          {"bytes", bytes},
          {"extensions", std::move(extensions)},
          {"shards", std::move(shards)}};
}

}  // namespace millrace
