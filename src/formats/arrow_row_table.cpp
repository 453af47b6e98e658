#include <arrow/api.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <optional>

#include "base/text.h"
#include "formats/arrow_access.h"
#include "formats/arrow_parquet_rows.h"
#include "formats/arrow_status.h"
#include "formats/row_table.h"

namespace millrace {
namespace {

using json = nlohmann::ordered_json;

constexpr int kMaxDepth = 16;  // of lists and structs in each other

bool is_parquet(const std::filesystem::path& path) {
  char head[4] = {};
  std::ifstream(path, std::ios::binary).read(head, sizeof head);
  return std::memcmp(head, "PAR1", 4) == 0;
}

template <typename Array>
json text_at(const arrow::Array& array, int64_t row, const std::string& place) {
  const std::string_view text = static_cast<const Array&>(array).GetView(row);
  if (!is_valid_utf8(text)) throw DataError(str("[", place, "] expected UTF-8, got other bytes"));
  return std::string(text);
}

template <typename Array>
json number_at(const arrow::Array& array, int64_t row) {
  const auto number = static_cast<const Array&>(array).Value(row);
  return std::isfinite(static_cast<double>(number)) ? json(number) : json(nullptr);
}

json value_at(const arrow::Array& array, int64_t row, const std::string& place, int depth);

template <typename Array>
json list_at(const arrow::Array& array, int64_t row, const std::string& place, int depth) {
  const auto& list = static_cast<const Array&>(array);
  json values = json::array();
  for (int64_t i = 0; i < list.value_length(row); ++i) {
    values.push_back(value_at(*list.values(), list.value_offset(row) + i, place, depth + 1));
  }
  return values;
}

json struct_at(const arrow::Array& array, int64_t row, const std::string& place, int depth) {
  const auto& group = static_cast<const arrow::StructArray&>(array);
  json values = json::object();
  for (int i = 0; i < group.num_fields(); ++i) {
    values[group.type()->field(i)->name()] = value_at(*group.field(i), row, place, depth + 1);
  }
  return values;
}

json value_at(const arrow::Array& array, int64_t row, const std::string& place, int depth) {
  using arrow::Type;
  if (depth > kMaxDepth) throw DataError(str("[", place, "] expected lists at most ", kMaxDepth, " deep, got more"));
  if (array.IsNull(row)) return nullptr;
  switch (array.type_id()) {
    case Type::STRING:
      return text_at<arrow::StringArray>(array, row, place);
    case Type::LARGE_STRING:
      return text_at<arrow::LargeStringArray>(array, row, place);
    case Type::STRING_VIEW:
      return text_at<arrow::StringViewArray>(array, row, place);
    case Type::BOOL:
      return static_cast<const arrow::BooleanArray&>(array).Value(row);
    case Type::INT8:
      return number_at<arrow::Int8Array>(array, row);
    case Type::INT16:
      return number_at<arrow::Int16Array>(array, row);
    case Type::INT32:
      return number_at<arrow::Int32Array>(array, row);
    case Type::INT64:
      return number_at<arrow::Int64Array>(array, row);
    case Type::UINT8:
      return number_at<arrow::UInt8Array>(array, row);
    case Type::UINT16:
      return number_at<arrow::UInt16Array>(array, row);
    case Type::UINT32:
      return number_at<arrow::UInt32Array>(array, row);
    case Type::UINT64:
      return number_at<arrow::UInt64Array>(array, row);
    case Type::FLOAT:
      return number_at<arrow::FloatArray>(array, row);
    case Type::DOUBLE:
      return number_at<arrow::DoubleArray>(array, row);
    case Type::LIST:
      return list_at<arrow::ListArray>(array, row, place, depth);
    case Type::LARGE_LIST:
      return list_at<arrow::LargeListArray>(array, row, place, depth);
    case Type::STRUCT:
      return struct_at(array, row, place, depth);
    case Type::DICTIONARY: {
      const auto& words = static_cast<const arrow::DictionaryArray&>(array);
      return value_at(*words.dictionary(), words.GetValueIndex(row), place, depth + 1);
    }
    default:
      throw DataError(str("[", place, "] expected text, numbers, lists or structs, got the type ",
                          in_quotes(array.type()->ToString())));
  }
}

}  // namespace

struct RowTable::Impl {
  std::filesystem::path path;
  std::unique_ptr<ParquetRows> parquet;  // or
  std::optional<ArrowFile> arrow;

  std::string place(int64_t row, const std::string& column) const {
    return str(path.string(), ", row ", row, ", column ", in_quotes(column));
  }
  json parquet_row(int64_t index) const {
    const auto part = parquet->part(index);
    const int64_t at = index - part->first_row;
    json row = json::object();
    for (int c = 0; c < part->rows->num_columns(); ++c) {
      const std::string& name = part->rows->column_name(c);
      const auto column = part->rows->column(c);
      if (!part->is_sound) check_arrow(column->Slice(at, 1)->ValidateFull(), place(index, name), "a valid cell");
      row[name] = value_at(*column, at, place(index, name), 0);
    }
    return row;
  }
  json arrow_row(int64_t index) const {
    json row = json::object();
    for (size_t c = 0; c < arrow->columns().size(); ++c) {
      int64_t at = 0;
      const auto array = ArrowAccess::array(*arrow, static_cast<int>(c), index, at);
      const std::string& name = arrow->columns()[c].name;
      row[name] = value_at(*array, at, place(index, name), 0);
    }
    return row;
  }
};

RowTable::RowTable(const std::filesystem::path& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  if (is_parquet(path)) {
    impl_->parquet = std::make_unique<ParquetRows>(path);
  } else {
    impl_->arrow.emplace(path);
    if (!impl_->arrow->damage().empty()) {
      throw DataError(
          str("[", path.string(), "] expected a whole Arrow file, got one that is damaged: ", impl_->arrow->damage()));
    }
  }
}
RowTable::~RowTable() = default;
RowTable::RowTable(RowTable&&) noexcept = default;

int64_t RowTable::size() const {
  return impl_->parquet ? impl_->parquet->size() : impl_->arrow->num_rows();
}

bool RowTable::is_packed() const {
  return impl_->parquet != nullptr;
}

std::shared_ptr<const void> RowTable::hold(int64_t index) const {
  if (!impl_->parquet) return nullptr;
  try {
    return impl_->parquet->part(index);
  } catch (const DataError&) {
    return nullptr;  // row() says what is wrong
  }
}

json RowTable::row(int64_t index) const {
  return impl_->parquet ? impl_->parquet_row(index) : impl_->arrow_row(index);
}

}  // namespace millrace
