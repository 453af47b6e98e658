#include "base/text_lines.h"

#include "base/files.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// UTF-32, little-endian, begins like UTF-16.
bool is_utf16(std::string_view content) {
  return starts_with(content, "\xFF\xFE") || starts_with(content, "\xFE\xFF");
}

// Takes the next line off the front of `rest`.
std::string_view take_line(std::string_view& rest) {
  const size_t end = rest.find_first_of("\r\n");
  const std::string_view line = rest.substr(0, end);
  if (end == std::string_view::npos) {
    rest = {};
  } else {
    const bool is_pair = rest.substr(end, 2) == "\r\n";
    rest.remove_prefix(end + (is_pair ? 2 : 1));
  }
  return line;
}

// The first byte that begins no character.
size_t first_bad_byte(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (!is_valid_utf8(text.substr(i, length))) break;
    i += length;
  }
  return i;
}

}  // namespace

std::string text_problem(std::string_view text) {
  if (text.find('\0') != std::string_view::npos) {
    return "expected text, got a zero byte (if this is UTF-16, try saving it as UTF-8)";
  }
  if (is_valid_utf8(text)) return "";
  const size_t bad = first_bad_byte(text);
  constexpr const char* kDigits = "0123456789ABCDEF";
  const auto byte = static_cast<unsigned char>(text[bad]);
  return std::string("expected UTF-8, got the byte 0x") + kDigits[byte >> 4] + kDigits[byte & 15] + " in position " +
         std::to_string(bad + 1) + " (try iconv -f latin1 -t utf-8, if that is its encoding)";
}

std::vector<TextLine> parse_text_lines(std::string_view content, const std::string& place,
                                       const TextLinesOptions& options) {
  if (is_utf16(content)) {
    throw_error(options.code,
                "[" + place + "] expected UTF-8, got UTF-16 (try saving it as UTF-8, or iconv -f utf-16 -t utf-8)");
  }
  std::vector<TextLine> lines;
  for (int64_t number = 1; !content.empty(); ++number) {
    std::string_view line = take_line(content);
    // At the start of the file, or where one file was appended to another.
    while (starts_with(line, kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
    const std::string problem = text_problem(line);
    if (!problem.empty()) throw_error(options.code, "[" + place + ":" + std::to_string(number) + "] " + problem);
    line = trim(line);
    if (line.empty() || (options.comments && line.front() == '#')) continue;
    lines.push_back({number, std::string(line)});
  }
  return lines;
}

std::vector<TextLine> read_text_lines(const std::filesystem::path& path, const TextLinesOptions& options) {
  return parse_text_lines(read_file(path, options.max_bytes), path.string(), options);
}

}  // namespace millrace
