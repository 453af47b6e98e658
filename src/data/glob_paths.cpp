#include "data/glob_paths.h"

#include <fnmatch.h>
#include <glob.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>
#include <span>

#include "base/error.h"
#include "base/text.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kAnyFolders = "**";

// glob() calls back without a context.
thread_local PassedOver* unreadable = nullptr;

int note_unreadable(const char* path, int error) {
  if (error != ENOENT && error != ENOTDIR) unreadable->add(path, std::strerror(error));
  return 0;  // continue
}

std::vector<fs::path> glob_plain(const std::string& pattern, PassedOver& passed_over) {
  glob_t found{};
  std::vector<fs::path> paths;
  unreadable = &passed_over;
  if (::glob(pattern.c_str(), GLOB_TILDE, note_unreadable, &found) == 0) {
    paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  }
  ::globfree(&found);
  unreadable = nullptr;
  return paths;
}

bool matches(std::span<const std::string> names, std::span<const std::string> patterns) {
  if (patterns.empty()) return names.empty();
  if (patterns.front() == kAnyFolders) {
    for (size_t skipped = 0; skipped <= names.size(); ++skipped) {
      if (matches(names.subspan(skipped), patterns.subspan(1))) return true;
    }
    return false;
  }
  return !names.empty() && ::fnmatch(patterns.front().c_str(), names.front().c_str(), FNM_PERIOD) == 0 &&
         matches(names.subspan(1), patterns.subspan(1));
}

}  // namespace

std::vector<fs::path> glob_paths(const std::string& pattern, PassedOver& passed_over) {
  std::vector<std::string> parts = split(pattern, '/');
  const auto first = std::find(parts.begin(), parts.end(), kAnyFolders);
  if (first == parts.end()) return glob_plain(pattern, passed_over);

  // Below the part before the first **, every file whose path matches the rest.
  const std::string before = join({parts.begin(), first}, "/");
  const std::string base = !before.empty() ? before : std::string(1, pattern.starts_with('/') ? '/' : '.');
  std::vector<std::string> rest;
  std::remove_copy(first, parts.end(), std::back_inserter(rest), "");
  if (rest.back() == kAnyFolders) rest.push_back("*");
  const NameRule rule = [&](std::string_view name) {
    return ::fnmatch(rest.back().c_str(), std::string(name).c_str(), 0) == 0 ? NameKind::kWanted : NameKind::kOther;
  };
  std::set<fs::path> found;
  for (const fs::path& folder : glob_plain(base, passed_over)) {
    std::error_code error;
    if (!fs::is_directory(folder, error)) continue;
    FolderWalk walk;
    try {
      walk = walk_folder(folder, rule);
    } catch (const DataError&) {
      passed_over.add(folder, "not readable");
      continue;
    }
    passed_over.add(walk.passed_over);
    for (const fs::path& file : walk.files) {
      const std::vector<std::string> names = split(file.lexically_relative(folder).generic_string(), '/');
      if (matches(names, rest)) found.insert(base == "." ? file.lexically_normal() : file);
    }
  }
  return {found.begin(), found.end()};
}

}  // namespace millrace
