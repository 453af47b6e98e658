#include "prepare/index_file.h"

#include <algorithm>
#include <charconv>

#include "base/error.h"
#include "base/log.h"
#include "base/text_lines.h"
#include "formats/quote.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxIndexBytes = uint64_t{1} << 30;  // a hundred million samples

}  // namespace

std::vector<int64_t> read_index_file(const std::filesystem::path& path) {
  if (!std::filesystem::exists(path))
    throw DataError(str("[", path.string(), "] expected a list of sample indices, got no such file"));
  std::vector<int64_t> indices;
  for (const TextLine& line : read_text_lines(path, {.max_bytes = kMaxIndexBytes})) {
    const std::string& text = line.text;
    int64_t index = -1;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
    if (error != std::errc() || end != text.data() + text.size() || index < 0) {
      throw DataError(
          str("[", path.string(), ":", line.number, "] expected the index of a sample, got ", in_quotes(text, 40)));
    }
    indices.push_back(index);
  }
  std::sort(indices.begin(), indices.end());
  indices.erase(std::unique(indices.begin(), indices.end()), indices.end());
  return indices;
}

}  // namespace millrace
