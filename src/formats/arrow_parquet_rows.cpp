#include "formats/arrow_parquet_rows.h"

#include <arrow/io/file.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>
#include <parquet/properties.h>

#include <algorithm>
#include <deque>

#include "formats/arrow_status.h"

namespace millrace {
namespace {

constexpr const char* kParquet = "a Parquet file";
constexpr int64_t kPartBytes = int64_t{4} << 20;
constexpr int64_t kMaxPartRows = 4096;
constexpr int64_t kReadBytes = int64_t{256} << 10;  // of a column
constexpr size_t kRecentParts = 4, kRecentCursors = 4;

// Keeps what was used last alive, of all files together: a data set may have thousands of them.
class RecentlyUsed {
 public:
  explicit RecentlyUsed(size_t count) : count_(count) {}

  void use(std::shared_ptr<const void> item) {
    std::shared_ptr<const void> oldest;  // which ends outside the lock
    const std::lock_guard lock(mutex_);
    if (const auto found = std::find(items_.begin(), items_.end(), item); found != items_.end()) items_.erase(found);
    items_.push_back(std::move(item));
    if (items_.size() <= count_) return;
    oldest = std::move(items_.front());
    items_.pop_front();
  }

 private:
  size_t count_;
  std::mutex mutex_;
  std::deque<std::shared_ptr<const void>> items_;
};

RecentlyUsed& recent_parts() {
  static RecentlyUsed recent(kRecentParts);
  return recent;
}
RecentlyUsed& recent_cursors() {
  static RecentlyUsed recent(kRecentCursors);
  return recent;
}

// libparquet throws where its metadata are damaged.
template <typename Action>
auto guarded(const std::string& place, const Action& action) {
  try {
    return action();
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    throw DataError(str("[", place, "] expected ", kParquet, ", got ", in_quotes(error.what())));
  }
}

}  // namespace

ParquetRows::ParquetRows(const std::filesystem::path& path) : place_(path.string()) {
  guarded(place_, [&] {
    const auto file = open();
    const auto metadata = file->parquet_reader()->metadata();
    for (int number = 0; number < metadata->num_row_groups(); ++number) {
      const auto group = metadata->RowGroup(number);
      const int64_t begin = size(), rows = group->num_rows();
      if (rows < 0 || rows > INT64_MAX - begin) {
        throw DataError(str("[", place_, "] expected a number of rows, got ", rows));
      }
      if (rows == 0) continue;
      const int64_t row_bytes = std::max<int64_t>(1, group->total_byte_size() / rows);
      groups_.push_back(
          {begin, begin + rows, std::clamp<int64_t>(kPartBytes / row_bytes, 1, kMaxPartRows), begin + rows, ""});
      numbers_.push_back(number);
    }
    if (metadata->num_rows() != size()) {
      throw DataError(
          str("[", place_, "] expected row groups with the file's ", metadata->num_rows(), " rows, got ", size()));
    }
  });
}

std::unique_ptr<parquet::arrow::FileReader> ParquetRows::open() const {
  parquet::ReaderProperties reading;
  reading.enable_buffered_stream();  // a column of a row group may be as large as the file
  reading.set_buffer_size(kReadBytes);
  parquet::ArrowReaderProperties decoding(/*use_threads=*/false);
  decoding.set_pre_buffer(false);
  parquet::arrow::FileReaderBuilder builder;
  check_arrow(builder.Open(check_arrow(arrow::io::ReadableFile::Open(place_), place_, kParquet), reading), place_,
              kParquet);
  return check_arrow(builder.properties(decoding)->Build(), place_, kParquet);
}

std::shared_ptr<const ParquetRows::Part> ParquetRows::find(int64_t row) {
  const std::lock_guard lock(looking_);
  const auto behind = parts_.upper_bound(row);
  if (behind == parts_.begin()) return nullptr;
  const auto part = std::prev(behind)->second.lock();
  return part && row < part->first_row + part->rows->num_rows() ? part : nullptr;
}

// At the row or before it, in the group.
std::shared_ptr<ParquetRows::Cursor> ParquetRows::cursor_at(size_t group, int64_t row) {
  auto cursor = cursor_.lock();
  const bool is_near = cursor && cursor->end == groups_[group].end && cursor->next_row <= row;
  if (!is_near) {
    cursor = std::make_shared<Cursor>();
    cursor->file = open();
    cursor->file->set_batch_size(groups_[group].rows_at_once);
    cursor->parts = check_arrow(cursor->file->GetRecordBatchReader({numbers_[group]}), place_, kParquet);
    cursor->next_row = groups_[group].begin;
    cursor->end = groups_[group].end;
    cursor_ = cursor;
  }
  recent_cursors().use(cursor);
  return cursor;
}

std::shared_ptr<const ParquetRows::Part> ParquetRows::decode(Cursor& cursor) {
  std::shared_ptr<arrow::RecordBatch> batch;
  check_arrow(cursor.parts->ReadNext(&batch), place_, kParquet);
  const int64_t rows = batch ? batch->num_rows() : 0, missing = cursor.end - cursor.next_row;
  if (rows == 0 || rows > missing) {
    throw DataError(str("[", place_, "] expected ", missing, " more rows in a row group, got ", rows));
  }
  const bool is_sound = batch->ValidateFull().ok();
  auto part = std::make_shared<const Part>(Part{cursor.next_row, std::move(batch), is_sound});
  cursor.next_row += rows;
  {
    const std::lock_guard lock(looking_);
    std::erase_if(parts_, [](const auto& one) { return one.second.expired(); });
    parts_[part->first_row] = part;
  }
  recent_parts().use(part);
  return part;
}

std::shared_ptr<const ParquetRows::Part> ParquetRows::part(int64_t row) {
  MILLRACE_CHECK(row >= 0 && row < size());
  if (auto found = find(row)) return found;
  const std::lock_guard lock(decoding_);
  if (auto found = find(row)) return found;  // another thread was faster
  const auto behind =
      std::upper_bound(groups_.begin(), groups_.end(), row, [](int64_t r, const Group& g) { return r < g.begin; });
  Group& group = *std::prev(behind);
  if (row >= group.damaged_from) throw DataError(group.damage);
  int64_t sound = group.begin;
  try {
    return guarded(place_, [&] {
      const auto cursor = cursor_at(static_cast<size_t>(std::prev(behind) - groups_.begin()), row);
      while (true) {
        sound = cursor->next_row;
        if (auto part = decode(*cursor); row < cursor->next_row) return part;
      }
    });
  } catch (const DataError& error) {
    group.damaged_from = sound;
    group.damage = error.what();
    cursor_.reset();
    throw;
  }
}

}  // namespace millrace
