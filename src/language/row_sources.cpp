#include "language/row_sources.h"

#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdlib>
#include <system_error>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "language/row_file.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// What `datasets` takes for the name of a split in a path.
struct Split {
  std::string_view name;
  std::vector<std::string_view> words;
};
const std::vector<Split>& known_splits() {
  static const std::vector<Split> kSplits = {{"train", {"train", "training"}},
                                             {"validation", {"validation", "valid", "val", "dev"}},
                                             {"test", {"test", "testing", "eval", "evaluation"}}};
  return kSplits;
}

bool is_text(std::optional<RowFileKind> kind) {
  return kind == RowFileKind::kText || kind == RowFileKind::kParagraphs || kind == RowFileKind::kDocument;
}

bool is_row_file(const fs::path& path, std::optional<RowFileKind> kind = std::nullopt) {
  const std::string name = path.filename().string();
  if (is_text(kind)) return to_lower(path.extension().string()) == ".txt" && name.front() != '.';
  constexpr std::array kOthers = {"dataset_info.json", "dataset_infos.json", "state.json", "dataset_dict.json",
                                  "config.json"};
  const std::optional<RowFileKind> own = find_row_file_kind(path);
  return own && (!kind || own == kind) && std::find(kOthers.begin(), kOthers.end(), name) == kOthers.end() &&
         name.front() != '.';
}

// Whether word stands in the text with no letter beside it.
bool has_word(const std::string& text, std::string_view word) {
  const auto is_letter = [&](size_t at) {
    return at < text.size() && std::isalpha(static_cast<unsigned char>(text[at])) != 0;
  };
  for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) {
    if ((at == 0 || !is_letter(at - 1)) && !is_letter(at + word.size())) return true;
  }
  return false;
}

bool is_of(const Split& split, const std::string& path) {
  return std::any_of(split.words.begin(), split.words.end(),
                     [&](std::string_view word) { return has_word(path, word); });
}

std::vector<fs::path> files_of_split(const fs::path& folder, std::string_view split, std::optional<RowFileKind> kind) {
  std::vector<fs::path> all, named;
  bool any_split_named = false;
  for (const auto& entry : fs::recursive_directory_iterator(folder, fs::directory_options::follow_directory_symlink)) {
    const fs::path relative = entry.path().lexically_relative(folder);
    if (!is_row_file(entry.path(), kind) || !fs::is_regular_file(entry.path()) ||
        relative.begin()->string().front() == '.')
      continue;
    all.push_back(entry.path());
    const std::string text = to_lower(relative.string());
    const auto& splits = known_splits();
    any_split_named |= std::any_of(splits.begin(), splits.end(), [&](const Split& one) { return is_of(one, text); });
    const auto known = std::find_if(splits.begin(), splits.end(), [&](const Split& one) { return one.name == split; });
    if (known != splits.end() ? is_of(*known, text) : has_word(text, split)) named.push_back(entry.path());
  }
  std::vector<fs::path>& found = named.empty() && !any_split_named ? all : named;
  std::sort(found.begin(), found.end());
  return found;
}

fs::path hub_cache() {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return fs::path(value == nullptr ? "" : value);
  };
  if (const fs::path cache = variable("HF_HUB_CACHE"); !cache.empty()) return cache;
  if (const fs::path home = variable("HF_HOME"); !home.empty()) return home / "hub";
  return variable("HOME") / ".cache" / "huggingface" / "hub";
}

// OWNER/NAME
bool is_hub_name(const std::string& source) {
  const auto is_plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '_' || c == '.';
  };
  const size_t slash = source.find('/');
  if (slash == 0 || slash == std::string::npos || slash + 1 == source.size()) return false;
  return std::all_of(source.begin(), source.end(), [&](char c) { return is_plain(c) || c == '/'; }) &&
         source.find('/', slash + 1) == std::string::npos && source.front() != '.' && !is_row_file(source);
}

// The folder of the snapshot that main points to; empty: none.
fs::path cached_snapshot(const std::string& owner, const std::string& name) {
  const fs::path folder = hub_cache() / ("datasets--" + owner + "--" + name);
  const fs::path reference = folder / "refs" / "main";
  if (!fs::is_regular_file(reference)) return {};
  const std::string commit(trim(read_file(reference, 256)));
  if (commit.empty() || commit.find_first_not_of("0123456789abcdef") != std::string::npos) return {};
  const fs::path snapshot = folder / "snapshots" / commit;
  return fs::is_directory(snapshot) ? snapshot : fs::path();
}

// Files whose last name fits a pattern of the shell.
std::vector<fs::path> files_like(const fs::path& pattern) {
  const fs::path folder = pattern.has_parent_path() ? pattern.parent_path() : ".";
  std::vector<fs::path> files;
  std::error_code ignored;
  for (fs::directory_iterator entry(folder, ignored), end; !ignored && entry != end; entry.increment(ignored)) {
    const bool fits = ::fnmatch(pattern.filename().c_str(), entry->path().filename().c_str(), FNM_PERIOD) == 0;
    if (fits && entry->is_regular_file()) files.push_back(folder / entry->path().filename());
  }
  if (files.empty()) throw DataError(str("[", pattern.string(), "] expected files of such names, got none"));
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::vector<fs::path> find_row_files(const std::string& source, std::string_view split,
                                     std::optional<RowFileKind> kind) {
  if (split.empty()) split = "train";
  fs::path folder = source;
  if (fs::exists(folder) && !fs::is_directory(folder)) return {folder};
  if (!fs::exists(folder) && source.find_first_of("*?[") != std::string::npos) return files_like(folder);
  if (!fs::exists(folder) && is_hub_name(source)) {
    const std::string owner = source.substr(0, source.find('/')), name = source.substr(source.find('/') + 1);
    folder = fs::is_directory(name) ? fs::path(name) : cached_snapshot(owner, name);
    if (folder.empty()) {
      throw DataError(
          str("[", source, "] expected a file, a folder, or a data set of Hugging Face's hub in the folder ", name,
              " or in ", hub_cache().string(), ", got none (try `millrace download dataset ", source, "`)"));
    }
  }
  if (!fs::is_directory(folder)) {
    throw DataError(str("[", source, "] expected a file or a folder of rows, got nothing of that name"));
  }
  std::vector<fs::path> files = files_of_split(folder, split, kind);
  if (files.empty()) {
    throw DataError(str("[", folder.string(), "] expected files of rows (",
                        is_text(kind) ? ".txt" : ".json, .jsonl, .csv, .parquet, .arrow", ") of the split ", split,
                        ", got none"));
  }
  return files;
}

}  // namespace millrace
