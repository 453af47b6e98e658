#include "language/row_set.h"

#include <algorithm>

#include "base/error.h"

namespace millrace {

RowSet::RowSet(const std::vector<std::string>& files, const std::string& field, const std::string& split) {
  int64_t rows = 0;
  for (const std::string& path : files) {
    files_.push_back(std::make_unique<RowFile>(path, row_file_kind(path), field));
    rows += files_.back()->size();
  }
  ranges_ = split.empty() ? std::vector<RowRange>{{0, rows}} : parse_split(split, rows).ranges;
  for (const RowRange& range : ranges_) size_ += range.end - range.begin;
}

void RowSet::keep_first(int64_t count) {
  size_ = std::min(size_, count);
}

RowSet::Position RowSet::position(int64_t index) const {
  MILLRACE_CHECK(index >= 0 && index < size_);
  for (const RowRange& range : ranges_) {
    const int64_t length = range.end - range.begin;
    if (index >= length) {
      index -= length;
      continue;
    }
    index += range.begin;
    for (const auto& file : files_) {
      if (index < file->size()) return {file.get(), index};
      index -= file->size();
    }
  }
  throw LogicError("[rows] expected a row in one of the files, got one behind them");
}

nlohmann::ordered_json RowSet::row(int64_t index) const {
  const Position at = position(index);
  return at.file->row(at.row);
}

std::string RowSet::place(int64_t index) const {
  const Position at = position(index);
  return at.file->place(at.row);
}

}  // namespace millrace
