#include "formats/arrow_writer.h"

#include <arrow/api.h>
#include <arrow/io/interfaces.h>
#include <arrow/ipc/writer.h>

#include <exception>
#include <optional>

#include "base/text.h"
#include "formats/arrow_status.h"
#include "formats/atomic_file.h"

namespace millrace {
namespace {

constexpr int64_t kMaxBatchRows = 1000;  // the default of `datasets`
constexpr int64_t kMaxBatchBytes = int64_t{256} << 20;
constexpr size_t kMaxCellBytes = INT32_MAX - 1;  // offsets are int32

std::shared_ptr<arrow::DataType> arrow_type(ArrowType type) {
  switch (type) {
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
  }
  MILLRACE_CHECK(false);
}

// AtomicFile as a stream of libarrow's. What the file throws is kept, to be thrown again outside libarrow.
class FileStream : public arrow::io::OutputStream {
 public:
  explicit FileStream(const std::filesystem::path& path) : file_(path) {}

  arrow::Status Write(const void* data, int64_t size) override {
    try {
      file_.writer().write(data, static_cast<size_t>(size));
    } catch (...) {
      error_ = std::current_exception();
      return arrow::Status::IOError("write");
    }
    return arrow::Status::OK();
  }
  arrow::Result<int64_t> Tell() const override { return static_cast<int64_t>(position()); }
  arrow::Status Close() override { return arrow::Status::OK(); }
  bool closed() const override { return false; }

  uint64_t position() const { return position_.value_or(const_cast<AtomicFile&>(file_).writer().position()); }
  void commit() {
    position_ = position();
    file_.commit();
  }
  void check(const arrow::Status& status, const std::string& place) const {
    if (error_) std::rethrow_exception(error_);
    check_arrow(status, place, "rows that can be written");
  }

 private:
  AtomicFile file_;
  std::optional<uint64_t> position_;
  std::exception_ptr error_;
};

}  // namespace

struct ArrowStreamWriter::Impl {
  Impl(const std::filesystem::path& path_, std::vector<ArrowColumnSpec> columns_);
  // Throws for a cell that does not fit its column; the bytes of a cell that has any.
  std::string_view checked_text(size_t column, const ArrowCell& cell) const;
  void append(size_t column, const ArrowCell& cell, std::string_view text);
  void write_batch();
  [[noreturn]] void fail(size_t column, const std::string& expected, const std::string& got) const;
  std::string place() const { return path.string(); }

  std::filesystem::path path;
  std::vector<ArrowColumnSpec> columns;
  std::shared_ptr<arrow::Schema> schema;
  std::shared_ptr<FileStream> stream;
  std::shared_ptr<arrow::ipc::RecordBatchWriter> writer;
  std::vector<std::unique_ptr<arrow::ArrayBuilder>> builders;
  int64_t rows = 0, batch_rows = 0, batch_bytes = 0;
};

ArrowStreamWriter::Impl::Impl(const std::filesystem::path& path_, std::vector<ArrowColumnSpec> columns_)
    : path(path_), columns(std::move(columns_)) {
  std::vector<std::shared_ptr<arrow::Field>> fields;
  for (const auto& [name, type] : columns) {
    fields.push_back(arrow::field(name, arrow_type(type)));
    builders.push_back(check_arrow(arrow::MakeBuilder(fields.back()->type()), place(), "a column"));
  }
  const nlohmann::ordered_json info = {{"info", {{"features", hf_features(columns)}}}};
  schema = arrow::schema(fields, arrow::key_value_metadata({"huggingface"}, {info.dump()}));
  stream = std::make_shared<FileStream>(path);
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.use_threads = false;
  auto made = arrow::ipc::MakeStreamWriter(stream, schema, options);
  stream->check(made.status(), place());
  writer = *made;
}

void ArrowStreamWriter::Impl::fail(size_t column, const std::string& expected, const std::string& got) const {
  throw DataError(str("[", place(), " column ", in_quotes(columns[column].name), " row ", rows, "] expected ", expected,
                      ", got ", got));
}

std::string_view ArrowStreamWriter::Impl::checked_text(size_t column, const ArrowCell& cell) const {
  const ArrowType type = columns[column].type;
  std::string_view text;
  bool fits = std::holds_alternative<std::monostate>(cell);
  if (const auto* string = std::get_if<std::string_view>(&cell)) {
    text = *string;
    fits = type == ArrowType::kString || type == ArrowType::kBinary;
    if (type == ArrowType::kString && !is_valid_utf8(text)) fail(column, "text in UTF-8", in_quotes(text));
  } else if (const auto* bytes = std::get_if<std::span<const std::byte>>(&cell)) {
    text = {reinterpret_cast<const char*>(bytes->data()), bytes->size()};
    fits = type == ArrowType::kBinary || type == ArrowType::kImage;
  } else if (const auto* integer = std::get_if<int64_t>(&cell)) {
    fits = type == ArrowType::kInt32 || type == ArrowType::kInt64 || type == ArrowType::kBool;
    if (type == ArrowType::kInt32 && (*integer < INT32_MIN || *integer > INT32_MAX))
      fail(column, "an integer of 32 bits", str(*integer));
  } else if (std::holds_alternative<double>(cell)) {
    fits = type == ArrowType::kFloat64;
  }
  if (!fits) fail(column, "a cell of its column's type", "another type");
  if (text.size() > kMaxCellBytes) fail(column, "less than 2 GiB", human_bytes(text.size()));
  return text;
}

void ArrowStreamWriter::Impl::append(size_t column, const ArrowCell& cell, std::string_view text) {
  arrow::ArrayBuilder& builder = *builders[column];
  const auto check = [&](const arrow::Status& status) { stream->check(status, place()); };
  if (std::holds_alternative<std::monostate>(cell)) return check(builder.AppendNull());
  switch (columns[column].type) {
    case ArrowType::kString:
      return check(static_cast<arrow::StringBuilder&>(builder).Append(text));
    case ArrowType::kBinary:
      return check(static_cast<arrow::BinaryBuilder&>(builder).Append(text));
    case ArrowType::kInt32:
      return check(static_cast<arrow::Int32Builder&>(builder).Append(static_cast<int32_t>(std::get<int64_t>(cell))));
    case ArrowType::kInt64:
      return check(static_cast<arrow::Int64Builder&>(builder).Append(std::get<int64_t>(cell)));
    case ArrowType::kFloat64:
      return check(static_cast<arrow::DoubleBuilder&>(builder).Append(std::get<double>(cell)));
    case ArrowType::kBool:
      return check(static_cast<arrow::BooleanBuilder&>(builder).Append(std::get<int64_t>(cell) != 0));
    case ArrowType::kImage: {
      auto& image = static_cast<arrow::StructBuilder&>(builder);
      check(image.Append());
      check(static_cast<arrow::BinaryBuilder*>(image.field_builder(0))->Append(text));
      return check(image.field_builder(1)->AppendNull());
    }
  }
}

void ArrowStreamWriter::Impl::write_batch() {
  if (batch_rows == 0) return;
  std::vector<std::shared_ptr<arrow::Array>> arrays;
  for (const auto& builder : builders) arrays.push_back(check_arrow(builder->Finish(), place(), "rows"));
  stream->check(writer->WriteRecordBatch(*arrow::RecordBatch::Make(schema, batch_rows, std::move(arrays))), place());
  batch_rows = batch_bytes = 0;
}

ArrowStreamWriter::ArrowStreamWriter(const std::filesystem::path& path, std::vector<ArrowColumnSpec> columns)
    : impl_(std::make_unique<Impl>(path, std::move(columns))) {}
ArrowStreamWriter::~ArrowStreamWriter() = default;

void ArrowStreamWriter::add_row(const std::vector<ArrowCell>& cells) {
  MILLRACE_CHECK(impl_->writer && cells.size() == impl_->columns.size());
  std::vector<std::string_view> texts;
  int64_t row_bytes = 0;
  for (size_t i = 0; i < cells.size(); ++i) {
    texts.push_back(impl_->checked_text(i, cells[i]));
    row_bytes += static_cast<int64_t>(texts.back().size()) + 8;
  }
  if (impl_->batch_bytes + row_bytes > kMaxBatchBytes) impl_->write_batch();
  for (size_t i = 0; i < cells.size(); ++i) impl_->append(i, cells[i], texts[i]);
  impl_->batch_bytes += row_bytes;
  ++impl_->rows;
  if (++impl_->batch_rows == kMaxBatchRows) impl_->write_batch();
}

void ArrowStreamWriter::close() {
  MILLRACE_CHECK(impl_->writer);
  impl_->write_batch();
  impl_->stream->check(impl_->writer->Close(), impl_->place());
  impl_->writer.reset();
  impl_->stream->commit();
}

int64_t ArrowStreamWriter::rows() const {
  return impl_->rows;
}
uint64_t ArrowStreamWriter::bytes() const {
  return impl_->stream->position();
}

}  // namespace millrace
