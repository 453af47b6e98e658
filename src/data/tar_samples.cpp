#include "data/tar_samples.h"

#include <unordered_map>
#include <unordered_set>

#include "base/printable.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr size_t kNone = static_cast<size_t>(-1);

std::string_view file_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

bool leads_up(std::string_view name) {
  for (const std::string& part : split(name, '/')) {
    if (part == "..") return true;
  }
  return false;
}

// The problem of one member; empty: none.
std::string problem_of(const TarMember& member) {
  if (member.name.empty()) return "expected a name for every file, got an empty one";
  const std::string name = printable(member.name);
  if (!is_valid_utf8(member.name)) return "expected names in UTF-8, got " + name;
  if (member.name.front() == '/') return "expected relative names, got " + name;
  if (leads_up(member.name)) return "expected names without .., got " + name;
  if (member.kind == TarMemberKind::kFile) return "";
  return "expected plain files, got " + std::string(describe(member.kind)) + ", " + name;
}

std::string twice(std::string_view extension) {
  return "expected each extension once, got two " + printable(extension);
}

constexpr const char* kApart =
    "expected the files of a sample to be adjacent, got some of them elsewhere in the shard (try packing with tar "
    "--sort=name)";

// Lower-case extensions of one key: a set, since one key may have millions of files.
using Extensions = std::unordered_set<std::string>;

void add_file(TarSample& sample, std::string_view extension, const TarMember& member, Extensions& known) {
  if (sample.problem.empty()) sample.problem = problem_of(member);
  const bool is_new = known.insert(to_lower(extension)).second;
  if (!is_new && sample.problem.empty()) sample.problem = twice(extension);
  sample.files.push_back({extension, &member});
}

// Several groups with the same key are parts of one sample, or a duplicated sample.
void mark_scattered(std::vector<TarSample>& samples) {
  struct Scattered {
    Extensions known;
    std::string problem = kApart;
  };
  std::unordered_set<std::string_view> keys;
  std::unordered_map<std::string_view, Scattered> scattered;
  for (const TarSample& sample : samples) {
    if (!sample.key.empty() && !keys.insert(sample.key).second) scattered[sample.key];
  }
  if (scattered.empty()) return;
  for (const TarSample& sample : samples) {
    const auto found = scattered.find(sample.key);
    if (found == scattered.end()) continue;
    for (const TarSample::File& file : sample.files) {
      const bool is_new = found->second.known.insert(to_lower(file.extension)).second;
      if (!is_new && found->second.problem == kApart) found->second.problem = twice(file.extension);
    }
  }
  for (TarSample& sample : samples) {
    const auto found = scattered.find(sample.key);
    if (found != scattered.end() && sample.problem.empty()) sample.problem = found->second.problem;
  }
}

}  // namespace

bool split_member_name(std::string_view name, std::string_view& key, std::string_view& extension) {
  const std::string_view file = file_name(name);
  const size_t dot = file.find('.');
  if (dot == std::string_view::npos || dot == 0) return false;
  key = name.substr(0, name.size() - file.size() + dot);
  extension = file.substr(dot + 1);
  return true;
}

std::vector<TarSample> group_tar_samples(const std::vector<TarMember>& members,
                                         bool (*is_wanted_name)(std::string_view name)) {
  std::vector<TarSample> samples;
  size_t current = kNone;
  Extensions known;  // of the current sample
  for (const TarMember& member : members) {
    std::string_view key, extension;
    if (member.name.empty()) {
      // It does not separate the files of a sample.
      samples.push_back({"", {}, problem_of(member)});
      continue;
    }
    if (is_wanted_name && !is_wanted_name(file_name(member.name))) continue;
    if (!split_member_name(member.name, key, extension)) continue;
    if (current == kNone || samples[current].key != key) {
      current = samples.size();
      samples.push_back({key, {}, {}});
      known.clear();
    }
    add_file(samples[current], extension, member, known);
  }
  mark_scattered(samples);
  return samples;
}

}  // namespace millrace
