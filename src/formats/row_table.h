// Rows of a Parquet file, or of an Arrow file as Hugging Face `datasets` writes it, as JSON objects.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include <nlohmann/json.hpp>

namespace millrace {

// Safe to read from several threads. Files stay on disk until their rows are wanted. Those of a Parquet file, which are
// packed, are unpacked some thousand at a time, the last of which are kept: rows are cheap in order, and dear in any
// other.
class RowTable {
 public:
  // Which of the two kinds the file is, its first bytes say. Throws StorageError when it cannot be read, DataError for
  // other and damaged files.
  explicit RowTable(const std::filesystem::path& path);
  ~RowTable();
  RowTable(RowTable&&) noexcept;

  int64_t size() const;
  bool is_packed() const;
  // Keeps the row unpacked, and those unpacked with it, for as long as the result lives; null where there is nothing to
  // keep. index as of row().
  std::shared_ptr<const void> hold(int64_t index) const;
  // index in [0, size()). Lists become arrays, structs objects; nulls, NaN and infinities null. Throws DataError naming
  // file, row and column for values that JSON has no word for (dates, decimals, bytes that are not UTF-8).
  nlohmann::ordered_json row(int64_t index) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
