// Lists of sample indices, one a line: problematic_indices.txt.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

namespace millrace {

// Sorted, each once. Throws DataError naming a line that is not a whole number or not text (base/text_lines.h).
std::vector<int64_t> read_index_file(const std::filesystem::path& path);

}  // namespace millrace
