// Selects files of a listing.
#pragma once

#include <string>
#include <vector>

namespace millrace {

// Shell patterns as huggingface_hub takes them: * and ? match slashes too, [abc] and [!abc] are sets, and a pattern
// that ends with a slash means everything below that folder.
bool matches(const std::string& path, const std::string& pattern);

struct FileFilter {
  std::vector<std::string> include;  // empty: everything
  std::vector<std::string> exclude;

  bool wants(const std::string& path) const;
};

}  // namespace millrace
