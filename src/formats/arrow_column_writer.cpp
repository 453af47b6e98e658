#include "formats/arrow_column_writer.h"

#include <arrow/array/array_nested.h>
#include <arrow/array/builder_binary.h>
#include <arrow/array/builder_nested.h>
#include <arrow/array/builder_primitive.h>
#include <arrow/builder.h>

#include "base/text.h"
#include "formats/arrow_access.h"
#include "formats/arrow_status.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;
using Kind = JsonType::Kind;

constexpr size_t kMaxArrowTextBytes = INT32_MAX - 1;  // offsets are int32
constexpr int64_t kFixedBytes = 8;                    // size of a cell besides its text, roughly

void check_built(const arrow::Status& status) {
  check_arrow(status, "record batch", "rows that fit the memory");
}

std::shared_ptr<arrow::DataType> json_arrow_type(const JsonType& type) {
  switch (type.kind) {
    case Kind::kNull:
      return arrow::null();
    case Kind::kBool:
      return arrow::boolean();
    case Kind::kInt64:
      return arrow::int64();
    case Kind::kFloat64:
      return arrow::float64();
    case Kind::kString:
      return arrow::utf8();
    case Kind::kList:
      return arrow::list(json_arrow_type(type.children[0]));
    case Kind::kStruct: {
      arrow::FieldVector fields;
      for (size_t i = 0; i < type.names.size(); ++i)
        fields.push_back(arrow::field(type.names[i], json_arrow_type(type.children[i])));
      return arrow::struct_(fields);
    }
  }
  MILLRACE_CHECK(false);
}

std::shared_ptr<arrow::DataType> arrow_type(const ArrowColumnSpec& spec) {
  switch (spec.type) {
    case ArrowType::kString:
      return arrow::utf8();
    case ArrowType::kBinary:
      return arrow::binary();
    case ArrowType::kInt32:
      return arrow::int32();
    case ArrowType::kInt64:
      return arrow::int64();
    case ArrowType::kFloat64:
      return arrow::float64();
    case ArrowType::kBool:
      return arrow::boolean();
    case ArrowType::kImage:
      return arrow::struct_({arrow::field("bytes", arrow::binary()), arrow::field("path", arrow::utf8())});
    case ArrowType::kJson:
      return json_arrow_type(spec.json);
    case ArrowType::kCopy:
      break;
  }
  MILLRACE_CHECK(spec.source);
  const int column = spec.source->find_column(spec.name);
  MILLRACE_CHECK(column >= 0);
  return ArrowAccess::type(*spec.source, column);
}

// The bytes of a non-null cell.
std::string_view text_of(const ArrowCell& cell) {
  if (const auto* text = std::get_if<std::string_view>(&cell)) return *text;
  if (const auto* bytes = std::get_if<std::span<const std::byte>>(&cell))
    return {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
  return {};
}

int64_t json_bytes(const Json& value) {
  int64_t bytes = kFixedBytes;
  if (value.is_string()) bytes += static_cast<int64_t>(value.get_ref<const std::string&>().size());
  if (value.is_structured()) {
    for (const Json& entry : value) bytes += json_bytes(entry);
  }
  return bytes;
}

// The size of a cell of the source; only a guess for nested columns other than images.
int64_t source_bytes(const ArrowSourceCell& cell) {
  const std::string& type = cell.file->columns()[static_cast<size_t>(cell.column)].type;
  const bool has_bytes = type.starts_with("string") || type.starts_with("binary") || type.starts_with("large_") ||
                         type.starts_with("struct<bytes: ");
  const auto bytes = has_bytes ? cell.file->bytes(cell.column, cell.row) : std::nullopt;
  return kFixedBytes + (bytes ? static_cast<int64_t>(bytes->size()) : 100);
}

}  // namespace

ArrowColumnWriter::ArrowColumnWriter(const ArrowColumnSpec& spec, std::string place)
    : spec_(spec), place_(std::move(place)), type_(arrow_type(spec)) {
  builder_ = check_arrow(arrow::MakeBuilder(type_), place_, "a column");
}

int64_t ArrowColumnWriter::check(const ArrowCell& cell, int64_t row) const {
  const ArrowType type = spec_.type;
  const auto fail = [&](const std::string& expected, const std::string& got) {
    throw DataError(
        str("[", place_, " column ", in_quotes(spec_.name), " row ", row, "] expected ", expected, ", got ", got));
  };
  const std::string_view text = text_of(cell);
  int64_t bytes = kFixedBytes + static_cast<int64_t>(text.size());
  bool fits = std::holds_alternative<std::monostate>(cell);
  if (std::holds_alternative<std::string_view>(cell)) {
    fits = type == ArrowType::kString || type == ArrowType::kBinary;
    if (type == ArrowType::kString && !is_valid_utf8(text)) fail("text in UTF-8", in_quotes(text));
  } else if (std::holds_alternative<std::span<const std::byte>>(cell)) {
    fits = type == ArrowType::kBinary || type == ArrowType::kImage;
  } else if (const auto* integer = std::get_if<int64_t>(&cell)) {
    fits = type == ArrowType::kInt32 || type == ArrowType::kInt64 || type == ArrowType::kBool;
    if (type == ArrowType::kInt32 && (*integer < INT32_MIN || *integer > INT32_MAX))
      fail("an integer of 32 bits", str(*integer));
  } else if (std::holds_alternative<double>(cell)) {
    fits = type == ArrowType::kFloat64;
  } else if (const auto* json = std::get_if<const Json*>(&cell)) {
    fits = type == ArrowType::kJson;
    if (fits) check_json_fits(**json, spec_.json, str(place_, " column ", in_quotes(spec_.name), " row ", row));
    bytes = json_bytes(**json);
  } else if (const auto* source = std::get_if<ArrowSourceCell>(&cell)) {
    const auto found = ArrowAccess::type(*source->file, source->column);
    if (!found->Equals(*type_)) fail(type_->ToString(), found->ToString());
    fits = type == ArrowType::kCopy;
    if (fits) bytes = source_bytes(*source);
    int64_t unused = 0;
    if (fits) ArrowAccess::array(*source->file, source->column, source->row, unused);
  }
  if (!fits) fail("a cell of its column's type", "another type");
  if (text.size() > kMaxArrowTextBytes) fail("less than 2 GiB", human_bytes(text.size()));
  return bytes;
}

void ArrowColumnWriter::append(const ArrowCell& cell) {
  arrow::ArrayBuilder& builder = *builder_;
  const std::string_view text = text_of(cell);
  if (std::holds_alternative<std::monostate>(cell)) return check_built(builder.AppendNull());
  switch (spec_.type) {
    case ArrowType::kString:
      return check_built(static_cast<arrow::StringBuilder&>(builder).Append(text));
    case ArrowType::kBinary:
      return check_built(static_cast<arrow::BinaryBuilder&>(builder).Append(text));
    case ArrowType::kInt32:
      return check_built(
          static_cast<arrow::Int32Builder&>(builder).Append(static_cast<int32_t>(std::get<int64_t>(cell))));
    case ArrowType::kInt64:
      return check_built(static_cast<arrow::Int64Builder&>(builder).Append(std::get<int64_t>(cell)));
    case ArrowType::kFloat64:
      return check_built(static_cast<arrow::DoubleBuilder&>(builder).Append(std::get<double>(cell)));
    case ArrowType::kBool:
      return check_built(static_cast<arrow::BooleanBuilder&>(builder).Append(std::get<int64_t>(cell) != 0));
    case ArrowType::kImage: {
      auto& image = static_cast<arrow::StructBuilder&>(builder);
      check_built(image.Append());
      check_built(static_cast<arrow::BinaryBuilder*>(image.field_builder(0))->Append(text));
      return check_built(image.field_builder(1)->AppendNull());
    }
    case ArrowType::kJson:
      return append_json(builder, spec_.json, *std::get<const Json*>(cell));
    case ArrowType::kCopy: {
      const auto& source = std::get<ArrowSourceCell>(cell);
      int64_t row = 0;
      const auto array = ArrowAccess::array(*source.file, source.column, source.row, row);
      return check_built(builder.AppendArraySlice(arrow::ArraySpan(*array->data()), row, 1));
    }
  }
}

void ArrowColumnWriter::append_json(arrow::ArrayBuilder& builder, const JsonType& type, const Json& value) {
  if (value.is_null()) return check_built(builder.AppendNull());
  switch (type.kind) {
    case Kind::kNull:
      return check_built(builder.AppendNull());
    case Kind::kBool:
      return check_built(static_cast<arrow::BooleanBuilder&>(builder).Append(value.get<bool>()));
    case Kind::kInt64:
      return check_built(static_cast<arrow::Int64Builder&>(builder).Append(value.get<int64_t>()));
    case Kind::kFloat64:
      return check_built(static_cast<arrow::DoubleBuilder&>(builder).Append(value.get<double>()));
    case Kind::kString:
      return check_built(static_cast<arrow::StringBuilder&>(builder).Append(value.get_ref<const std::string&>()));
    case Kind::kList: {
      auto& list = static_cast<arrow::ListBuilder&>(builder);
      check_built(list.Append());
      for (const Json& item : value) append_json(*list.value_builder(), type.children[0], item);
      return;
    }
    case Kind::kStruct: {
      auto& fields = static_cast<arrow::StructBuilder&>(builder);
      check_built(fields.Append());
      for (size_t i = 0; i < type.names.size(); ++i) {
        const auto field = value.find(type.names[i]);
        append_json(*fields.field_builder(static_cast<int>(i)), type.children[i],
                    field == value.end() ? Json() : *field);
      }
      return;
    }
  }
}

std::shared_ptr<arrow::Array> ArrowColumnWriter::finish() {
  return check_arrow(builder_->Finish(), place_, "rows that fit the memory");
}

}  // namespace millrace
