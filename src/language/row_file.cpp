#include "language/row_file.h"

#include <algorithm>
#include <future>
#include <span>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/json.h"
#include "language/csv_fields.h"
#include "language/unpacked_rows.h"

namespace millrace {
namespace {

std::string_view text_of(const MappedFile& file) {
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
  return starts_with(text, "\xEF\xBB\xBF") ? text.substr(3) : text;
}

// Gives back the memory of what has been passed over, so that a file of any size can be cut into rows.
class PassedPages {
 public:
  explicit PassedPages(std::span<const std::byte> bytes) : bytes_(bytes) {}
  void passed(size_t at) {
    constexpr size_t kPiece = size_t{4} << 20;
    if (at - begin_ < kPiece) return;
    release_mapped(bytes_.subspan(begin_, at - begin_));
    begin_ = at;
  }

 private:
  std::span<const std::byte> bytes_;
  size_t begin_ = 0;
};

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

// Behind the JSON value that begins at `at`, by its brackets and quotes alone: what is between them is checked when it
// is parsed. Counts the lines that it passes.
size_t end_of_value(std::string_view text, size_t at, int64_t& line) {
  int depth = 0;
  bool quoted = false;
  for (; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '\n') ++line;
    if (quoted) {
      if (c == '\\') {
        ++at;
      } else if (c == '"') {
        quoted = false;
      }
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']') {
      if (depth == 0) return at;
      if (--depth == 0) return at + 1;
    } else if (c == ',' && depth == 0) {
      return at;
    }
  }
  return text.size();
}

// Several lines, which end with \n alone.
nlohmann::ordered_json lines_row(std::string_view text) {
  std::string lines;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\r' || i + 1 == text.size() || text[i + 1] != '\n') lines.push_back(text[i]);
  }
  return {{"text", lines}};
}

}  // namespace

std::optional<RowFileKind> find_row_file_kind(const std::filesystem::path& path) {
  const std::string extension = to_lower(path.extension().string());
  if (extension == ".json" || extension == ".jsonl" || extension == ".ndjson") return RowFileKind::kJson;
  if (extension == ".csv") return RowFileKind::kCsv;
  if (extension == ".parquet" || extension == ".arrow") return RowFileKind::kTable;
  return std::nullopt;
}

RowFileKind row_file_kind(const std::filesystem::path& path) {
  if (const auto kind = find_row_file_kind(path)) return *kind;
  const std::string extension = to_lower(path.extension().string());
  if (extension == ".txt") return RowFileKind::kText;
  throw ConfigError(str("[", path.string(), "] expected .json, .jsonl, .csv, .parquet, .arrow or .txt, got ",
                        extension.empty() ? "none" : extension));
}

RowFile::RowFile(const std::filesystem::path& path, RowFileKind kind, const std::string& field, char separator)
    : file_(path), kind_(kind), separator_(separator) {
  if (kind == RowFileKind::kTable) {
    table_.emplace(path);
    return;
  }
  const std::string_view text = text_of(file_);
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (kind == RowFileKind::kCsv) {
    cut_csv(text);
  } else if (kind == RowFileKind::kText) {
    cut_lines(text, /*keeps_blank=*/true);
  } else if (kind == RowFileKind::kParagraphs) {
    cut_paragraphs(text);
  } else if (kind == RowFileKind::kDocument) {
    rows_.push_back({0, text.size(), 1});
  } else if (!field.empty()) {
    cut_array(text, find_list(text, field));
  } else if (first != std::string_view::npos && text[first] == '[') {
    cut_array(text, first);
  } else {
    cut_lines(text, /*keeps_blank=*/false);
    const bool is_spread = rows_.size() > 1 && trim(text.substr(rows_[0].begin, rows_[0].end - rows_[0].begin)) == "{";
    if (is_spread) {
      throw DataError(str("[", place(0),
                          "] expected a list of rows, or one row in each line, got an object of several ",
                          "lines (try finetune.data_field with the member that holds the rows)"));
    }
  }
}

// Where the list of the outermost object's member begins. The same name may stand deeper, or be a value.
size_t RowFile::find_list(std::string_view text, const std::string& field) const {
  const std::string key = "\"" + field + "\"";
  const auto next = [&](size_t from) { return std::min(text.find_first_not_of(" \t\r\n", from), text.size()); };
  int64_t line = 1;
  size_t at = next(0);
  if (at < text.size() && text[at] != '{') at = text.size();
  while (at < text.size() && text[at] != '}') {
    const size_t member = next(at + 1), colon = next(member + key.size());
    if (starts_with(text.substr(member), key) && colon < text.size() && text[colon] == ':') {
      const size_t open = next(colon + 1);
      if (open < text.size() && text[open] == '[') return open;
      break;
    }
    at = next(end_of_value(text, member, line));
  }
  throw DataError(str("[", file_.path().string(), "] expected an object whose member ", key, " is a list, got none"));
}

void RowFile::cut_lines(std::string_view text, bool keeps_blank) {
  PassedPages pages(file_.bytes());
  int64_t line = 0;
  for (size_t at = 0; at < text.size();) {
    pages.passed(at);
    const size_t end = std::min(text.find('\n', at), text.size());
    ++line;
    if (keeps_blank ||
        !std::all_of(text.begin() + static_cast<ptrdiff_t>(at), text.begin() + static_cast<ptrdiff_t>(end), is_blank)) {
      rows_.push_back({at, end, line});
    }
    at = end + 1;
  }
}

// As `datasets` does: at every two line ends in a row, so that a third one is the start of a paragraph.
void RowFile::cut_paragraphs(std::string_view text) {
  PassedPages pages(file_.bytes());
  Span open = {0, 0, 1};
  int64_t line = 1;
  const auto close = [&](size_t end) {
    open.end = end > open.begin && end < text.size() && text[end - 1] == '\r' ? end - 1 : end;
    if (open.end > open.begin) rows_.push_back(open);
  };
  for (size_t at = 0; (at = text.find('\n', at)) < text.size(); ++at) {
    pages.passed(at);
    ++line;
    const size_t next = starts_with(text.substr(at + 1), "\r\n") ? at + 2 : at + 1;
    if (next == text.size() || text[next] != '\n') continue;
    close(at);
    open = {next + 1, next + 1, ++line};
    at = next;
  }
  close(text.size());
}

void RowFile::cut_array(std::string_view text, size_t at) {
  int64_t line = 1 + std::count(text.begin(), text.begin() + static_cast<ptrdiff_t>(at), '\n');
  const auto fail = [&](const std::string& expected, const std::string& got) {
    throw DataError(str("[", file_.path().string(), ":", line, "] expected ", expected, ", got ", got));
  };
  const auto skip_blanks = [&] {
    for (; at < text.size() && is_blank(text[at]); ++at) line += text[at] == '\n' ? 1 : 0;
  };
  ++at;
  skip_blanks();
  if (at < text.size() && text[at] == ']') return;
  PassedPages pages(file_.bytes());
  while (true) {
    pages.passed(at);
    skip_blanks();
    const int64_t first_line = line;
    const size_t end = end_of_value(text, at, line);
    if (end == text.size()) fail("the end ] of the list", "the end of the file");
    if (end == at) fail("a row", str("\"", text[at], "\""));
    rows_.push_back({at, end, first_line});
    at = end;
    skip_blanks();
    if (at == text.size()) fail("the end ] of the list", "the end of the file");
    if (text[at] == ']') return;
    if (text[at] != ',') fail("a comma between rows", str("\"", text[at], "\""));
    ++at;
  }
}

void RowFile::cut_csv(std::string_view text) {
  PassedPages pages(file_.bytes());
  int64_t line = 1;
  for (size_t at = 0; at < text.size();) {
    pages.passed(at);
    const int64_t first_line = line;
    const size_t end = end_of_csv_record(text, at, line, separator_);
    const std::string_view record = text.substr(at, end - at);
    if (!std::all_of(record.begin(), record.end(), is_blank)) rows_.push_back({at, end, first_line});
    at = end;
  }
  if (rows_.empty())
    throw DataError(str("[", file_.path().string(), "] expected a header of column names, got an empty file"));
  const Span first = rows_.front();
  header_ = csv_fields(text.substr(first.begin, first.end - first.begin), str(file_.path().string(), ":1"), separator_);
  rows_.erase(rows_.begin());
}

nlohmann::ordered_json RowFile::csv_row(const Span& span) const {
  const std::string here = str(file_.path().string(), ":", span.line);
  const std::vector<std::string> fields =
      csv_fields(text_of(file_).substr(span.begin, span.end - span.begin), here, separator_);
  if (fields.size() != header_.size()) {
    throw DataError(
        str("[", here, "] expected ", header_.size(), " fields, as many as the header has, got ", fields.size()));
  }
  nlohmann::ordered_json row = nlohmann::ordered_json::object();
  for (size_t i = 0; i < fields.size(); ++i) {
    row[header_[i]] = is_csv_null(fields[i]) ? nlohmann::ordered_json() : nlohmann::ordered_json(fields[i]);
  }
  return row;
}

std::string RowFile::place(int64_t index) const {
  if (table_) return str(file_.path().string(), ", row ", index);
  const auto at = static_cast<size_t>(index);
  const int64_t line = rows_[at].line;
  const bool shares_line =
      (at > 0 && rows_[at - 1].line == line) || (at + 1 < rows_.size() && rows_[at + 1].line == line);
  const std::string place = str(file_.path().string(), ":", line);
  return shares_line ? str(place, ", row ", index) : place;
}

uint64_t RowFile::digest(ThreadPool& pool) const {
  constexpr size_t kPiece = size_t{4} << 20;
  const std::span<const std::byte> bytes = file_.bytes();
  std::vector<std::future<uint64_t>> pieces;
  for (size_t at = 0; at < bytes.size(); at += kPiece) {
    pieces.push_back(pool.submit([piece = bytes.subspan(at, std::min(kPiece, bytes.size() - at))] {
      const uint64_t sum = checksum64(piece.data(), piece.size());
      release_mapped(piece);
      return sum;
    }));
  }
  std::vector<uint64_t> sums = {static_cast<uint64_t>(kind_), static_cast<uint64_t>(separator_),
                                static_cast<uint64_t>(size()), bytes.size()};
  for (std::future<uint64_t>& piece : pieces) sums.push_back(piece.get());
  for (const Span& row : rows_) sums.insert(sums.end(), {row.begin, row.end});
  return checksum64(sums.data(), 8 * sums.size());
}

HeldRows RowFile::hold(int64_t begin, int64_t end) const {
  HeldRows held;
  for (int64_t index = begin; is_packed() && index < end; ++index) {
    auto rows = table_->hold(index);
    if (rows != nullptr && (held.empty() || held.back() != rows)) held.push_back(std::move(rows));
  }
  return held;
}

void RowFile::unpack(const std::filesystem::path& folder, ThreadPool& pool) {
  if (is_packed() && size() > 0) unpacked_ = unpacked_rows(*this, folder, pool);
}

nlohmann::ordered_json RowFile::row(int64_t index) const {
  if (unpacked_) return row_of_unpacked(*this, unpacked_->row(index));
  if (table_) return table_->row(index);
  const Span& span = rows_[static_cast<size_t>(index)];
  const std::string_view text = text_of(file_).substr(span.begin, span.end - span.begin);
  if (!is_valid_utf8(text)) throw DataError(str("[", place(index), "] expected UTF-8, got other bytes (try iconv)"));
  if (kind_ == RowFileKind::kCsv) return csv_row(span);
  if (kind_ == RowFileKind::kText) {
    nlohmann::ordered_json line;
    line["text"] = std::string(ends_with(text, "\r") ? text.substr(0, text.size() - 1) : text);
    return line;
  }
  if (kind_ == RowFileKind::kParagraphs || kind_ == RowFileKind::kDocument) return lines_row(text);
  return parse_ordered_json<DataError>(text, place(index));
}

}  // namespace millrace
