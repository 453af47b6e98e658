#include "data/prepare/index_file.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/quote.h"

namespace millrace {

std::vector<int64_t> read_index_file(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path))
    throw DataError(str("[", path.string(), "] expected a list of sample indices, got no such file"));
  std::vector<int64_t> indices;
  int64_t line_number = 0;
  for (const std::string& line : split(read_file(path), '\n')) {
    ++line_number;
    const std::string_view text = trim(line);
    if (text.empty()) continue;
    int64_t index = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
    if (error != std::errc() || end != text.data() + text.size() || index < 0) {
      throw DataError(str("[", path.string(), " line ", line_number, "] expected the index of a sample, got ",
                          in_quotes(text, 40)));
    }
    indices.push_back(index);
  }
  std::sort(indices.begin(), indices.end());
  indices.erase(std::unique(indices.begin(), indices.end()), indices.end());
  return indices;
}

}  // namespace millrace
