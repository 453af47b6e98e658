// Rows of a Parquet file, or of an Arrow file as Hugging Face `datasets` writes it, as JSON objects.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include <nlohmann/json.hpp>

namespace millrace {

// Safe to read from several threads. An Arrow file stays on disk until its rows are wanted; the columns of a Parquet
// file, which are compressed, are kept in memory as a whole.
class RowTable {
 public:
  // Which of the two kinds the file is, its first bytes say. Throws StorageError when it cannot be read, DataError for
  // other and damaged files.
  explicit RowTable(const std::filesystem::path& path);
  ~RowTable();
  RowTable(RowTable&&) noexcept;

  int64_t size() const;
  // index in [0, size()). Lists become arrays, structs objects, nulls null. Throws DataError naming file, row and
  // column for values that JSON has no word for (dates, decimals, bytes that are not UTF-8).
  nlohmann::ordered_json row(int64_t index) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
