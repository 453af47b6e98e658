#include "language/row_set.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/error.h"
#include "base/files.h"
#include "language/row_sources.h"

namespace millrace {

RowSet::RowSet(const std::vector<std::string>& sources, const RowFileForm& form, const std::string& split,
               const std::vector<double>& weights) {
  const std::string name = split.empty() ? "" : name_of_split(split);
  int64_t rows = 0;
  std::vector<int64_t> ends;  // of each source
  for (const std::string& source : sources) {
    for (const std::filesystem::path& path : find_row_files(source, name, form.kind)) {
      const RowFileKind kind = form.kind ? *form.kind : row_file_kind(path);
      files_.push_back(std::make_unique<RowFile>(path, kind, form.field, form.separator));
      rows += files_.back()->size();
    }
    ends.push_back(rows);
  }
  ranges_ = split.empty() ? std::vector<RowRange>{{0, rows}} : parse_split(split, rows).ranges;
  for (const RowRange& range : ranges_) size_ += range.end - range.begin;
  if (!weights.empty()) apply(weights, ends);
}

RowSet::RowSet(std::vector<RowSet> parts) : parts_(std::move(parts)) {
  for (const RowSet& part : parts_) size_ += part.size();
}

// Row k of a source with the weight w occurs as often as whole numbers lie in (k w, (k + 1) w].
void RowSet::apply(const std::vector<double>& weights, const std::vector<int64_t>& ends) {
  MILLRACE_CHECK(weights.size() == ends.size());
  std::vector<int64_t> seen(ends.size(), 0);  // rows of each source
  int64_t index = 0;
  for (const RowRange& range : ranges_) {
    for (int64_t row = range.begin; row < range.end; ++row, ++index) {
      const auto source = static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), row) - ends.begin());
      const auto k = static_cast<double>(seen[source]++);
      const auto times = std::floor((k + 1) * weights[source]) - std::floor(k * weights[source]);
      weighted_.insert(weighted_.end(), static_cast<size_t>(times), index);
    }
  }
  size_ = static_cast<int64_t>(weighted_.size());
}

void RowSet::keep_first(int64_t count) {
  size_ = std::min(size_, count);
}

RowSet::Position RowSet::position(int64_t index) const {
  MILLRACE_CHECK(index >= 0 && index < size_);
  for (const RowSet& part : parts_) {
    if (index < part.size()) return part.position(index);
    index -= part.size();
  }
  if (!weighted_.empty()) index = weighted_[static_cast<size_t>(index)];
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

size_t RowSet::part(int64_t index) const {
  const std::vector<int64_t> ends = part_ends();
  return static_cast<size_t>(std::upper_bound(ends.begin(), ends.end(), index) - ends.begin());
}

int64_t RowSet::num_unweighted() const {
  int64_t rows = 0;
  for (const RowSet& part : parts_) rows += part.num_unweighted();
  for (const RowRange& range : ranges_) rows += range.end - range.begin;
  return rows;
}

int64_t RowSet::distinct(int64_t index) const {
  MILLRACE_CHECK(index >= 0 && index < size_);
  int64_t before = 0;
  for (const RowSet& part : parts_) {
    if (index < part.size()) return before + part.distinct(index);
    index -= part.size();
    before += part.num_unweighted();
  }
  return weighted_.empty() ? index : weighted_[static_cast<size_t>(index)];
}

uint64_t RowSet::digest(ThreadPool& pool) const {
  std::vector<uint64_t> sums = {static_cast<uint64_t>(size_), parts_.size(), files_.size(), ranges_.size(),
                                checksum64(weighted_.data(), sizeof(int64_t) * weighted_.size())};
  for (const RowSet& part : parts_) sums.push_back(part.digest(pool));
  for (const auto& file : files_) sums.push_back(file->digest(pool));
  for (const RowRange& range : ranges_) {
    sums.insert(sums.end(), {static_cast<uint64_t>(range.begin), static_cast<uint64_t>(range.end)});
  }
  return checksum64(sums.data(), 8 * sums.size());
}

void RowSet::forget_read() const {
  for (const RowSet& part : parts_) part.forget_read();
  for (const auto& file : files_) file->forget_read();
}

HeldRows RowSet::hold(int64_t begin, int64_t end) const {
  HeldRows held;
  for (int64_t index = begin; index < end; ++index) {
    const Position at = position(index);
    for (auto& rows : at.file->hold(at.row, at.row + 1)) {
      if (held.empty() || held.back() != rows) held.push_back(std::move(rows));
    }
  }
  return held;
}

std::vector<std::filesystem::path> RowSet::unpack(const std::filesystem::path& folder, ThreadPool& pool) {
  std::vector<std::filesystem::path> paths;
  for (RowSet& part : parts_) std::ranges::copy(part.unpack(folder, pool), std::back_inserter(paths));
  for (const auto& file : files_) {
    file->unpack(folder, pool);
    if (file->unpacked() != nullptr) paths.push_back(file->unpacked()->path());
  }
  return paths;
}

std::vector<int64_t> RowSet::part_ends() const {
  if (parts_.empty()) return {size_};
  std::vector<int64_t> ends;
  int64_t end = 0;
  for (const RowSet& part : parts_) ends.push_back(std::min(end += part.size(), size_));
  return ends;
}

}  // namespace millrace
