// Rows of an Arrow IPC file, memory-mapped: the data-*.arrow of Hugging Face `datasets` (the stream format), or the
// file format. https://arrow.apache.org/docs/format/Columnar.html#serialization-and-interprocess-communication-ipc
//
// Only requested content is read from disk. Compressed record batches are refused (`datasets` writes none), and
// dictionary-encoded columns cannot be read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace millrace {

struct ArrowColumn {
  std::string name;
  std::string type;  // Arrow's own text: "string", "binary", "int32", "struct<bytes: binary, path: string>"
};

// Thread-safe for reading.
class ArrowFile {
 public:
  // Reads the schema and the positions of the record batches. Throws DataError naming the file if it is not an Arrow
  // file, StorageError if it cannot be read; a truncated file keeps its whole batches and sets damage().
  explicit ArrowFile(const std::filesystem::path& path);
  ~ArrowFile();
  ArrowFile(ArrowFile&&) noexcept;
  ArrowFile& operator=(ArrowFile&&) noexcept;

  const std::filesystem::path& path() const;
  int64_t num_rows() const;
  int64_t num_batches() const;
  const std::vector<ArrowColumn>& columns() const;
  int find_column(const std::string& name) const;  // -1: none
  const std::string& damage() const;               // empty: the file is whole
  // The schema's metadata under this key, such as "huggingface"; empty: none.
  std::string metadata(const std::string& key) const;

  // The functions below throw DataError for a column of another type and for content outside the file, naming file,
  // column and row.

  // Content of a string, binary, large_string, large_binary, string_view or binary_view cell, or of the "bytes" field
  // of a struct (the Image feature of `datasets`); nullopt: null. Valid as long as this object lives.
  std::optional<std::span<const std::byte>> bytes(int column, int64_t row) const;
  // Integer of any width, or bool; nullopt: null (also for a column of type null).
  std::optional<int64_t> integer(int column, int64_t row) const;
  // Whether the cell, of any type, is null.
  bool is_null(int column, int64_t row) const;

 private:
  friend struct ArrowAccess;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
