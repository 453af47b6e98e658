#include "download/glob.h"

#include <fnmatch.h>

#include <algorithm>

#include "base/text.h"

namespace millrace {

bool matches(const std::string& path, const std::string& pattern) {
  const std::string full = ends_with(pattern, "/") ? pattern + "*" : pattern;
  return ::fnmatch(full.c_str(), path.c_str(), FNM_NOESCAPE) == 0;
}

bool FileFilter::wants(const std::string& path) const {
  const auto matches_path = [&](const std::string& pattern) { return matches(path, pattern); };
  return (include.empty() || std::any_of(include.begin(), include.end(), matches_path)) &&
         std::none_of(exclude.begin(), exclude.end(), matches_path);
}

}  // namespace millrace
