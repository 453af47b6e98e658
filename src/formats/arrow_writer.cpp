#include "formats/arrow_writer.h"

#include <arrow/api.h>
#include <arrow/io/interfaces.h>
#include <arrow/ipc/writer.h>

#include <exception>
#include <optional>

#include "formats/arrow_column_writer.h"
#include "formats/arrow_status.h"
#include "formats/atomic_file.h"

namespace millrace {
namespace {

constexpr int64_t kMaxBatchRows = 1000;  // the default of `datasets`
constexpr int64_t kMaxBatchBytes = int64_t{256} << 20;

// AtomicFile as a libarrow stream. Exceptions are stored and rethrown outside libarrow.
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
  Impl(const std::filesystem::path& path_, const std::vector<ArrowColumnSpec>& specs);
  void write_batch();
  std::string place() const { return path.string(); }

  std::filesystem::path path;
  std::vector<ArrowColumnWriter> columns;
  std::shared_ptr<arrow::Schema> schema;
  std::shared_ptr<FileStream> stream;
  std::shared_ptr<arrow::ipc::RecordBatchWriter> writer;
  int64_t rows = 0, batch_rows = 0, batch_bytes = 0;
};

ArrowStreamWriter::Impl::Impl(const std::filesystem::path& path_, const std::vector<ArrowColumnSpec>& specs)
    : path(path_) {
  std::vector<std::shared_ptr<arrow::Field>> fields;
  for (const ArrowColumnSpec& spec : specs) {
    columns.emplace_back(spec, place());
    fields.push_back(arrow::field(spec.name, columns.back().type()));
  }
  const nlohmann::ordered_json features = hf_features(specs);
  std::shared_ptr<arrow::KeyValueMetadata> metadata;
  if (!features.is_null()) {
    const nlohmann::ordered_json info = {{"info", {{"features", features}}}};
    metadata = arrow::key_value_metadata({"huggingface"}, {info.dump()});
  }
  schema = arrow::schema(fields, metadata);
  stream = std::make_shared<FileStream>(path);
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  options.use_threads = false;
  auto made = arrow::ipc::MakeStreamWriter(stream, schema, options);
  stream->check(made.status(), place());
  writer = *made;
}

void ArrowStreamWriter::Impl::write_batch() {
  if (batch_rows == 0) return;
  std::vector<std::shared_ptr<arrow::Array>> arrays;
  for (ArrowColumnWriter& column : columns) arrays.push_back(column.finish());
  stream->check(writer->WriteRecordBatch(*arrow::RecordBatch::Make(schema, batch_rows, std::move(arrays))), place());
  batch_rows = batch_bytes = 0;
}

ArrowStreamWriter::ArrowStreamWriter(const std::filesystem::path& path, const std::vector<ArrowColumnSpec>& columns)
    : impl_(std::make_unique<Impl>(path, columns)) {}
ArrowStreamWriter::~ArrowStreamWriter() = default;

void ArrowStreamWriter::add_row(const std::vector<ArrowCell>& cells) {
  MILLRACE_CHECK(impl_->writer && cells.size() == impl_->columns.size());
  int64_t row_bytes = 0;
  for (size_t i = 0; i < cells.size(); ++i) row_bytes += impl_->columns[i].check(cells[i], impl_->rows);
  if (impl_->batch_bytes + row_bytes > kMaxBatchBytes) impl_->write_batch();
  for (size_t i = 0; i < cells.size(); ++i) impl_->columns[i].append(cells[i]);
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
