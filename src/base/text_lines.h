// Lists that people write, one item a line: prompts, sample indices, emoji. Every command reads them the same way,
// whichever editor saved them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace millrace {

struct TextLine {
  int64_t number = 0;  // in the file, from 1
  std::string text;    // UTF-8, without blanks at either end; never empty
};

struct TextLinesOptions {
  ExitCode code = ExitCode::kData;  // thrown for a list that is not text
  bool comments = false;            // leave out lines that begin with #
  uint64_t max_bytes = uint64_t{16} << 20;
};

// The non-blank lines. Lines end with LF, CRLF or CR, optional on the last one; byte order marks are dropped. Throws an
// error naming place and line for text that is not UTF-8 (UTF-16 is recognised and named) or holds zero bytes.
std::vector<TextLine> parse_text_lines(std::string_view content, const std::string& place,
                                       const TextLinesOptions& options = {});
// The same for a file. Throws StorageError if it cannot be read or is longer than max_bytes.
std::vector<TextLine> read_text_lines(const std::filesystem::path& path, const TextLinesOptions& options = {});

// Why `text` is not text, as "expected ..., got ... (try ...)"; "" when it is UTF-8 without zero bytes.
std::string text_problem(std::string_view text);

}  // namespace millrace
