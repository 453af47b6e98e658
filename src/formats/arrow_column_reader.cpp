#include "formats/arrow_column_reader.h"

#include <arrow/type.h>

#include <cstring>

#include "formats/arrow_status.h"

namespace millrace {
namespace {

// A BinaryView is 16 bytes: the length, then up to 12 bytes in place, or a prefix, a buffer's number and an offset.
constexpr int64_t kViewBytes = 16, kMaxInlineBytes = 12;

bool cell_is_null(const arrow::ArrayData& data, int64_t row) {
  if (data.type->id() == arrow::Type::NA) return true;
  const auto& bitmap = data.buffers.empty() ? nullptr : data.buffers[0];
  if (!bitmap || data.null_count.load() == 0) return false;
  const int64_t bit = data.offset + row;
  return bit / 8 < bitmap->size() && (bitmap->data()[bit / 8] >> (bit % 8) & 1) == 0;
}

}  // namespace

ArrowColumnReader::ArrowColumnReader(std::shared_ptr<arrow::ArrayData> data, std::string place)
    : data_(std::move(data)), place_(std::move(place)) {
  if (data_->type->id() != arrow::Type::STRUCT) return;
  const int field = static_cast<const arrow::StructType&>(*data_->type).GetFieldIndex("bytes");
  if (field >= 0) bytes_field_ = data_->child_data[static_cast<size_t>(field)].get();
}

void ArrowColumnReader::fail(int64_t row, const std::string& expected, const std::string& got) const {
  throw DataError(str("[", place_, " row ", row, " of its record batch] expected ", expected, ", got ", got));
}

bool ArrowColumnReader::is_null(int64_t row) const {
  return cell_is_null(*data_, row);
}

std::optional<std::span<const std::byte>> ArrowColumnReader::bytes(int64_t row) const {
  if (cell_is_null(*data_, row)) return std::nullopt;
  if (!bytes_field_) return bytes_of(*data_, row);
  // A struct's children are sliced to its rows by the struct's own offset.
  return bytes_of(*bytes_field_, data_->offset + row);
}

std::optional<std::span<const std::byte>> ArrowColumnReader::bytes_of(const arrow::ArrayData& data, int64_t row) const {
  if (row >= data.length) fail(row, "a cell", str("a column of ", data.length, " rows"));
  if (cell_is_null(data, row)) return std::nullopt;
  switch (data.type->id()) {
    case arrow::Type::STRING:
    case arrow::Type::BINARY:
      return between_offsets<int32_t>(data, row);
    case arrow::Type::LARGE_STRING:
    case arrow::Type::LARGE_BINARY:
      return between_offsets<int64_t>(data, row);
    case arrow::Type::STRING_VIEW:
    case arrow::Type::BINARY_VIEW:
      return view(data, row);
    case arrow::Type::LIST:
      return first_of_list<int32_t>(data, row);
    case arrow::Type::LARGE_LIST:
      return first_of_list<int64_t>(data, row);
    default:
      fail(row, "string or binary, a struct with such a field \"bytes\", or a list of strings or binaries",
           data_->type->ToString());
  }
}

// Like torchtitan's data sets, uses the first of several captions.
template <typename Offset>
std::optional<std::span<const std::byte>> ArrowColumnReader::first_of_list(const arrow::ArrayData& data,
                                                                           int64_t row) const {
  const int64_t begin = load<Offset>(data, 1, data.offset + row), end = load<Offset>(data, 1, data.offset + row + 1);
  const arrow::ArrayData& elements = *data.child_data.at(0);
  if (begin < 0 || begin > end || end > elements.length) {
    fail(row, str("a list within ", elements.length, " elements"), str("elements ", begin, " to ", end));
  }
  if (begin == end) return std::nullopt;
  return bytes_of(elements, begin);
}

template <typename T>
T ArrowColumnReader::load(const arrow::ArrayData& data, int buffer, int64_t index) const {
  const auto& content = data.buffers[static_cast<size_t>(buffer)];
  const int64_t size = content ? content->size() : 0;
  if (index < 0 || index >= size / static_cast<int64_t>(sizeof(T))) fail(index, "a cell within its buffer", "none");
  T value;  // bodies need not be aligned
  std::memcpy(&value, content->data() + index * static_cast<int64_t>(sizeof(T)), sizeof value);
  return value;
}

template <typename Offset>
std::span<const std::byte> ArrowColumnReader::between_offsets(const arrow::ArrayData& data, int64_t row) const {
  const int64_t begin = load<Offset>(data, 1, data.offset + row), end = load<Offset>(data, 1, data.offset + row + 1);
  const auto& content = data.buffers[2];
  const int64_t size = content ? content->size() : 0;
  if (begin < 0 || begin > end || end > size)
    fail(row, str("a cell within ", size, " bytes"), str("bytes ", begin, " to ", end));
  if (begin == end) return {};
  return {reinterpret_cast<const std::byte*>(content->data()) + begin, static_cast<size_t>(end - begin)};
}

std::span<const std::byte> ArrowColumnReader::view(const arrow::ArrayData& data, int64_t row) const {
  struct View {
    int32_t size;
    char prefix[4];
    int32_t buffer;
    int32_t offset;
  };
  static_assert(sizeof(View) == kViewBytes);
  const int64_t index = data.offset + row;
  const View cell = load<View>(data, 1, index);
  if (cell.size < 0) fail(row, "a size", str(cell.size));
  if (cell.size <= kMaxInlineBytes) {
    const uint8_t* in_place = data.buffers[1]->data() + index * kViewBytes + sizeof cell.size;
    return {reinterpret_cast<const std::byte*>(in_place), static_cast<size_t>(cell.size)};
  }
  const auto num_buffers = static_cast<int64_t>(data.buffers.size()) - 2;
  if (cell.buffer < 0 || cell.buffer >= num_buffers)
    fail(row, str("one of ", num_buffers, " buffers"), str("buffer ", cell.buffer));
  const auto& content = data.buffers[static_cast<size_t>(cell.buffer) + 2];
  const int64_t size = content ? content->size() : 0;
  if (cell.offset < 0 || cell.offset > size || size - cell.offset < cell.size)
    fail(row, str("a cell within ", size, " bytes"), str(cell.size, " bytes at ", cell.offset));
  return {reinterpret_cast<const std::byte*>(content->data()) + cell.offset, static_cast<size_t>(cell.size)};
}

std::optional<int64_t> ArrowColumnReader::integer(int64_t row) const {
  const arrow::ArrayData& data = *data_;
  if (cell_is_null(data, row)) return std::nullopt;
  const int64_t index = data.offset + row;
  switch (data.type->id()) {
    case arrow::Type::INT8:
      return load<int8_t>(data, 1, index);
    case arrow::Type::UINT8:
      return load<uint8_t>(data, 1, index);
    case arrow::Type::INT16:
      return load<int16_t>(data, 1, index);
    case arrow::Type::UINT16:
      return load<uint16_t>(data, 1, index);
    case arrow::Type::INT32:
      return load<int32_t>(data, 1, index);
    case arrow::Type::UINT32:
      return load<uint32_t>(data, 1, index);
    case arrow::Type::INT64:
      return load<int64_t>(data, 1, index);
    case arrow::Type::UINT64: {
      const auto value = load<uint64_t>(data, 1, index);
      if (value > static_cast<uint64_t>(INT64_MAX)) fail(row, "at most 2^63-1", str(value));
      return static_cast<int64_t>(value);
    }
    case arrow::Type::BOOL:
      return load<uint8_t>(data, 1, index / 8) >> (index % 8) & 1;
    default:
      fail(row, "an integer", data.type->ToString());
  }
}

}  // namespace millrace
