#include "data/shard_list.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "data/glob_paths.h"
#include "data/hf_dataset.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTexts = 1'000'000;

std::optional<int64_t> parse_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

// What stands between one pair of braces.
std::vector<std::string> alternatives(const std::string& inside, const std::string& pattern) {
  const size_t dots = inside.find("..");
  if (dots == std::string::npos) {
    if (inside.find(',') != std::string::npos) return split(inside, ',');
    throw DataError("[" + pattern + "] expected {first..last} or {a,b}, got {" + inside + "}");
  }
  const std::string first_text = inside.substr(0, dots), last_text = inside.substr(dots + 2);
  const auto first = parse_number(first_text), last = parse_number(last_text);
  if (!first || !last || *first > *last || static_cast<uint64_t>(*last - *first) >= kMaxTexts) {
    throw DataError("[" + pattern + "] expected a rising range of numbers, got {" + inside + "}");
  }
  std::vector<std::string> texts;
  for (int64_t number = *first; number <= *last; ++number) {
    std::string digits = std::to_string(number);
    if (digits.size() < first_text.size()) digits.insert(0, first_text.size() - digits.size(), '0');
    texts.push_back(std::move(digits));
  }
  return texts;
}

std::vector<fs::path> tars_below(const fs::path& folder) {
  std::vector<fs::path> found;
  try {
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
      if (entry.is_regular_file() && entry.path().extension() == ".tar") found.push_back(entry.path());
    }
  } catch (const fs::filesystem_error& error) {
    throw DataError("[" + folder.string() + "] expected a readable folder, got: " + error.code().message());
  }
  std::sort(found.begin(), found.end());
  return found;
}

bool is_arrow(const fs::path& path) {
  return path.extension() == ".arrow";
}

bool holds_arrow_files(const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (is_arrow(entry.path())) return true;
  }
  return fs::exists(folder / "state.json") || fs::exists(folder / "dataset_dict.json");
}

std::vector<fs::path> match(const std::string& text) {
  if (fs::is_directory(text)) return holds_arrow_files(text) ? list_hf_dataset(text) : tars_below(text);
  if (fs::exists(text)) return {text};
  std::vector<fs::path> found = glob_paths(text);
  found.erase(std::remove_if(found.begin(), found.end(), [](const fs::path& path) { return fs::is_directory(path); }),
              found.end());
  // "data_set/*" matches dataset_info.json and state.json as well, which says what files there should be.
  if (std::any_of(found.begin(), found.end(), is_arrow)) {
    for (const fs::path& path : found) {
      if (path.filename() == "state.json") check_hf_files(path);
    }
    found.erase(std::remove_if(found.begin(), found.end(), std::not_fn(is_arrow)), found.end());
  }
  return found;
}

fs::path common_folder(const std::vector<fs::path>& paths) {
  fs::path common = paths.front().parent_path();
  for (const fs::path& path : paths) {
    const fs::path folder = path.parent_path();
    const auto [end, rest] = std::mismatch(common.begin(), common.end(), folder.begin(), folder.end());
    fs::path shared;
    for (auto part = common.begin(); part != end; ++part) shared /= *part;
    common = shared;
  }
  return common;
}

}  // namespace

std::vector<std::string> expand_braces(const std::string& pattern) {
  const size_t open = pattern.find('{');
  if (open == std::string::npos) return {pattern};
  const size_t close = pattern.find('}', open);
  if (close == std::string::npos) throw DataError("[" + pattern + "] expected } after {, got none");
  std::vector<std::string> texts;
  const std::vector<std::string> tails = expand_braces(pattern.substr(close + 1));
  for (const std::string& middle : alternatives(pattern.substr(open + 1, close - open - 1), pattern)) {
    for (const std::string& tail : tails) {
      if (texts.size() >= kMaxTexts) throw DataError("[" + pattern + "] expected at most a million files, got more");
      texts.push_back(pattern.substr(0, open) + middle + tail);
    }
  }
  return texts;
}

std::vector<ShardFile> list_shards(const std::vector<std::string>& patterns) {
  std::vector<fs::path> paths;
  std::set<fs::path> seen;
  for (const std::string& pattern : patterns) {
    // A file may have braces in its name.
    const std::vector<std::string> texts = fs::exists(pattern) ? std::vector{pattern} : expand_braces(pattern);
    for (const std::string& text : texts) {
      const std::vector<fs::path> found = match(text);
      if (found.empty()) {
        throw DataError("[" + text + "] expected tar shards or Arrow files, got " +
                        (fs::is_directory(text) ? "a folder without any *.tar or *.arrow" : "no such file"));
      }
      for (const fs::path& path : found) {
        const fs::path whole = fs::absolute(path).lexically_normal();
        if (seen.insert(whole).second) paths.push_back(whole);
      }
    }
  }
  if (paths.empty()) throw DataError("[training.dataset_path] expected at least one shard, got none");

  const fs::path base = common_folder(paths);
  std::vector<ShardFile> shards;
  for (const fs::path& path : paths) {
    std::error_code error;
    const uint64_t size = fs::file_size(path, error);
    if (error) throw DataError("[" + path.string() + "] expected a readable file, got: " + error.message());
    if (size == 0) throw DataError("[" + path.string() + "] expected a tar or Arrow file, got an empty one");
    shards.push_back({path, path.lexically_relative(base).generic_string(), size,
                      is_arrow(path) ? ShardKind::kArrow : ShardKind::kTar});
  }
  return shards;
}

uint64_t fingerprint(const std::vector<ShardFile>& shards) {
  std::string text;
  for (const ShardFile& shard : shards) text += shard.name + '\0' + std::to_string(shard.size) + '\0';
  return checksum64(text.data(), text.size());
}

}  // namespace millrace
