#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "language/jinja/syntax.h"

namespace millrace::jinja {
namespace {

constexpr std::string_view kBlanks = " \t\n\r\v\f";

void strip_end(std::string& text) {
  const size_t last = text.find_last_not_of(kBlanks);
  text.erase(last == std::string::npos ? 0 : last + 1);
}

// lstrip_blocks: blanks between the start of the line and a block. at_line_start: the text began there.
void strip_line_start(std::string& text, bool at_line_start) {
  const size_t last = text.find_last_not_of(" \t");
  if (last == std::string::npos ? at_line_start : text[last] == '\n')
    text.erase(last == std::string::npos ? 0 : last + 1);
}

// Where the closing delimiter stands, quoted text and braces of dicts left aside.
size_t find_close(std::string_view source, size_t at, std::string_view close) {
  char quote = 0;
  int depth = 0;
  for (; at < source.size(); ++at) {
    const char c = source[at];
    if (quote != 0) {
      if (c == '\\') {
        ++at;
      } else if (c == quote) {
        quote = 0;
      }
    } else if (c == '\'' || c == '"') {
      quote = c;
    } else if (c == '{') {
      ++depth;
    } else if (c == '}' && depth > 0) {
      --depth;
    } else if (starts_with(source.substr(at), close)) {
      return at;
    }
  }
  return std::string_view::npos;
}

}  // namespace

void fail_template(const std::string& place, int line, const std::string& expected, const std::string& got) {
  throw ModelError(str("[", place, ":", line, "] expected ", expected, ", got ", got));
}

std::vector<Segment> cut_template(std::string_view source, const std::string& place) {
  if (ends_with(source, "\n")) source.remove_suffix(1);  // keep_trailing_newline is off
  std::vector<Segment> segments;
  int line = 1;
  size_t at = 0;
  bool strip_next = false, trim_newline = false;
  while (true) {
    size_t open = at;
    while (open < source.size() && !(source[open] == '{' && open + 1 < source.size() &&
                                     std::string_view("{%#").find(source[open + 1]) != std::string_view::npos)) {
      ++open;
    }
    const std::string_view raw = source.substr(at, open - at);
    std::string text(raw);
    if (strip_next) {
      text.erase(0, std::min(text.find_first_not_of(kBlanks), text.size()));
    } else if (trim_newline && starts_with(text, "\n")) {
      text.erase(0, 1);
    }
    const bool text_at_line_start = (at == 0) || (trim_newline && starts_with(raw, "\n"));
    const int text_line = line;
    line += static_cast<int>(std::count(raw.begin(), raw.end(), '\n'));
    if (open == source.size()) {
      if (!text.empty()) segments.push_back({Segment::Kind::kText, text_line, text});
      return segments;
    }
    const char kind = source[open + 1];
    size_t inside = open + 2;
    const char sign = inside < source.size() ? source[inside] : 0;
    if (sign == '-' || sign == '+') ++inside;
    if (sign == '-') {
      strip_end(text);
    } else if (kind != '{' && sign != '+') {
      strip_line_start(text, text_at_line_start);
    }
    if (!text.empty()) segments.push_back({Segment::Kind::kText, text_line, text});
    const std::string_view close_word = kind == '{' ? "}}" : kind == '%' ? "%}" : "#}";
    const size_t close = kind == '#' ? source.find(close_word, inside) : find_close(source, inside, close_word);
    if (close == std::string_view::npos)
      fail_template(place, line, str("the end ", close_word), "the end of the template");
    size_t end = close;
    const bool minus = end > inside && source[end - 1] == '-', plus = end > inside && source[end - 1] == '+';
    if (minus || plus) --end;
    const std::string_view content = source.substr(inside, end - inside);
    if (kind != '#') {
      segments.push_back(
          {kind == '{' ? Segment::Kind::kOutput : Segment::Kind::kStatement, line, std::string(content)});
    }
    line += static_cast<int>(std::count(content.begin(), content.end(), '\n'));
    at = close + 2;
    strip_next = minus;
    trim_newline = kind != '{' && !plus;
  }
}

}  // namespace millrace::jinja
