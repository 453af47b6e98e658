// Rows of a Parquet file, decoded a few thousand at a time. For arrow_*.cpp: no other file includes this.
#pragma once

#include <arrow/record_batch.h>
#include <parquet/arrow/reader.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace millrace {

// Memory is of a few parts of all files together, and of what is held, whatever the sizes of the files and of their row
// groups. Safe to use from several threads.
class ParquetRows {
 public:
  // What is decoded at once, about kPartBytes.
  struct Part {
    int64_t first_row;
    std::shared_ptr<arrow::RecordBatch> rows;
    bool is_sound;  // else some cells are not
  };

  // Reads where the rows lie. Throws DataError for what is no Parquet file.
  explicit ParquetRows(const std::filesystem::path& path);

  int64_t size() const { return groups_.empty() ? 0 : groups_.back().end; }
  // The part with the row. It is decoded unless it is held, or one of the last. A row group is decoded from its start
  // on, so that rows are cheap in order, and dear in any other. Throws DataError for a part that is damaged and,
  // without another look at the file, for the rest of its row group.
  std::shared_ptr<const Part> part(int64_t row);

 private:
  struct Group {
    int64_t begin, end;
    int64_t rows_at_once;
    int64_t damaged_from;  // end: it is whole, as far as is known
    std::string damage;
  };
  // Where the next part is decoded.
  struct Cursor {
    std::unique_ptr<parquet::arrow::FileReader> file;
    std::unique_ptr<arrow::RecordBatchReader> parts;
    int64_t next_row, end;
  };

  std::unique_ptr<parquet::arrow::FileReader> open() const;
  std::shared_ptr<Cursor> cursor_at(size_t group, int64_t row);
  std::shared_ptr<const Part> decode(Cursor& cursor);
  std::shared_ptr<const Part> find(int64_t row);

  std::string place_;
  std::vector<Group> groups_;  // but for empty ones
  std::vector<int> numbers_;   // of the groups in the file

  std::mutex decoding_;           // for the groups' damage and
  std::weak_ptr<Cursor> cursor_;  // null: at no row

  std::mutex looking_;  // never held for long
  std::map<int64_t, std::weak_ptr<const Part>> parts_;
};

}  // namespace millrace
