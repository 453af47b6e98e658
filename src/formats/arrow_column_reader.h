// The cells of one column of one record batch. Seen only by arrow_*.cpp.
#pragma once

#include <arrow/array/data.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

namespace millrace {

// Checks every access against the buffers, so that only the requested cells are read from disk.
class ArrowColumnReader {
 public:
  ArrowColumnReader() = default;
  // data: accepted by Array::Validate(). place: file and column, for messages.
  ArrowColumnReader(std::shared_ptr<arrow::ArrayData> data, std::string place);

  bool is_null(int64_t row) const;
  std::optional<std::span<const std::byte>> bytes(int64_t row) const;
  std::optional<int64_t> integer(int64_t row) const;

 private:
  std::optional<std::span<const std::byte>> bytes_of(const arrow::ArrayData& data, int64_t row) const;
  std::span<const std::byte> view(const arrow::ArrayData& data, int64_t row) const;
  template <typename T>
  T load(const arrow::ArrayData& data, int buffer, int64_t index) const;
  template <typename Offset>
  std::span<const std::byte> between_offsets(const arrow::ArrayData& data, int64_t row) const;
  template <typename Offset>
  std::optional<std::span<const std::byte>> first_of_list(const arrow::ArrayData& data, int64_t row) const;
  [[noreturn]] void fail(int64_t row, const std::string& expected, const std::string& got) const;

  std::shared_ptr<arrow::ArrayData> data_;
  const arrow::ArrayData* bytes_field_ = nullptr;  // of a struct
  std::string place_;
};

}  // namespace millrace
