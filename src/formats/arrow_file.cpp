// The stream is walked message by message: four bytes of continuation mark (absent before Arrow 0.15), the length of
// the metadata, the metadata (a FlatBuffer), the body. A file in the file format is such a stream between two magic
// words and before a footer that repeats the positions of the batches; the footer is not needed, and missing in a
// truncated file.
#include "formats/arrow_file.h"

#include <arrow/api.h>
#include <arrow/ipc/api.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <new>

#include "base/files.h"
#include "formats/arrow_access.h"
#include "formats/arrow_column_reader.h"
#include "formats/arrow_status.h"
#include "formats/flatbuffer.h"

namespace millrace {
namespace {

constexpr std::string_view kFileMagic = "ARROW1";
constexpr size_t kFileHeadBytes = 8;  // the magic word and its padding
constexpr uint32_t kContinuation = 0xFFFFFFFF;
constexpr const char* kExpected = "an Arrow file as `datasets` writes it (data-*.arrow)";

// Fields of Arrow's Message.fbs, by number.
constexpr int kMessageHeader = 2;
constexpr int kBatchBuffers = 2, kBatchCompression = 3, kBatchVariadicCounts = 4;

// Reads a column; made when a batch's column is first accessed.
struct Batch {
  int64_t first_row = 0;
  int64_t num_rows = 0;
  std::shared_ptr<arrow::RecordBatch> content;
  // For each column: whether its buffers were checked, and whether all values were, including those of nested columns.
  std::unique_ptr<std::once_flag[]> is_checked, is_checked_fully;
  std::vector<ArrowColumnReader> readers;
};

bool contains_dictionary(const arrow::DataType& type) {
  if (type.id() == arrow::Type::DICTIONARY) return true;
  if (type.id() == arrow::Type::EXTENSION)
    return contains_dictionary(*static_cast<const arrow::ExtensionType&>(type).storage_type());
  return std::any_of(type.fields().begin(), type.fields().end(),
                     [](const auto& field) { return contains_dictionary(*field->type()); });
}

}  // namespace

struct ArrowFile::Impl {
  explicit Impl(const std::filesystem::path& path);

  MappedFile map;
  std::shared_ptr<arrow::Schema> schema;
  std::vector<ArrowColumn> columns;
  std::vector<int> content_columns;  // position of a column in the batches; -1: dictionary-encoded, left out
  std::vector<Batch> batches;
  int64_t num_rows = 0;
  std::string damage;

  const ArrowColumnReader& reader(int column, int64_t row, int64_t& row_in_batch);
  std::shared_ptr<arrow::Array> checked_array(int column, int64_t row, int64_t& row_in_batch);

 private:
  Batch& batch_of(int column, int64_t row);
  std::string place() const { return map.path().string(); }
  std::string place(size_t offset) const { return str(place(), " at byte ", offset); }
  bool read_message(size_t& offset);
  void read_schema(const arrow::ipc::Message& message);
  void read_batch(const arrow::ipc::Message& message, size_t offset);

  arrow::ipc::IpcReadOptions options_;
};

ArrowFile::Impl::Impl(const std::filesystem::path& path) : map(path) {
  options_.use_threads = false;
  options_.ensure_native_endian = false;
  const std::string_view text(reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size());
  const bool has_footer = text.starts_with(kFileMagic);
  size_t offset = has_footer ? kFileHeadBytes : 0;
  try {
    while (read_message(offset)) {
    }
  } catch (const std::bad_alloc&) {
    throw DataError(str("[", place(offset), "] expected ", kExpected, ", got a message too large for the memory"));
  }
  if (!schema) throw DataError(str("[", place(), "] expected ", kExpected, ", got ", damage));
  if (has_footer && damage.empty() && !text.ends_with(kFileMagic)) damage = "the footer is missing: the file was cut";
}

// False at the end, with damage set if the file is incomplete.
bool ArrowFile::Impl::read_message(size_t& offset) {
  const std::span<const std::byte> bytes = map.bytes();
  const auto load = [&](size_t at) {
    uint32_t value;
    std::memcpy(&value, bytes.data() + at, sizeof value);
    return value;
  };
  const auto cut = [&](const char* what) {
    damage = str("the file ends after ", bytes.size(), " bytes, ", what);
    return false;
  };
  if (offset >= bytes.size()) return cut("without the mark of a stream's end");
  size_t at = offset;
  if (bytes.size() - at < 4) return cut("inside the length of a message");
  uint32_t length = load(at);
  at += 4;
  if (length == kContinuation) {
    if (bytes.size() - at < 4) return cut("inside the length of a message");
    length = load(at);
    at += 4;
  }
  if (length == 0) return false;  // the end of the stream
  if (length > static_cast<uint32_t>(INT32_MAX))
    throw DataError(str("[", place(offset), "] expected ", kExpected, ", got a message of ", length, " bytes"));
  if (bytes.size() - at < length) return cut("inside the header of a message");

  const auto buffer = [&](size_t first, size_t size) {
    return std::make_shared<arrow::Buffer>(reinterpret_cast<const uint8_t*>(bytes.data()) + first,
                                           static_cast<int64_t>(size));
  };
  const auto metadata = buffer(at, length);
  const auto header = check_arrow(arrow::ipc::Message::Open(metadata, nullptr), place(offset), kExpected);
  const int64_t body_length = header->body_length();
  at += length;
  if (body_length < 0)
    throw DataError(str("[", place(offset), "] expected ", kExpected, ", got a body of ", body_length, " bytes"));
  if (static_cast<uint64_t>(body_length) > bytes.size() - at) return cut("inside a record batch");
  const auto message = check_arrow(arrow::ipc::Message::Open(metadata, buffer(at, static_cast<size_t>(body_length))),
                                   place(offset), kExpected);
  if (message->type() == arrow::ipc::MessageType::SCHEMA && !schema) {
    read_schema(*message);
  } else if (message->type() == arrow::ipc::MessageType::RECORD_BATCH && schema) {
    read_batch(*message, offset);
  } else if (message->type() != arrow::ipc::MessageType::DICTIONARY_BATCH || !schema) {
    throw DataError(str("[", place(offset), "] expected ", schema ? "a record batch" : "the schema first", ", got ",
                        arrow::ipc::FormatMessageType(message->type())));
  }
  offset = at + static_cast<size_t>(body_length);
  return true;
}

void ArrowFile::Impl::read_schema(const arrow::ipc::Message& message) {
  arrow::ipc::DictionaryMemo dictionaries;
  schema = check_arrow(arrow::ipc::ReadSchema(message, &dictionaries), place(), kExpected);
  if (!schema->is_native_endian())
    throw DataError(str("[", place(), "] expected little-endian numbers, got big-endian ones"));
  for (int i = 0; i < schema->num_fields(); ++i) {
    const arrow::Field& field = *schema->field(i);
    columns.push_back({field.name(), field.type()->ToString()});
    if (contains_dictionary(*field.type())) {
      content_columns.push_back(-1);
    } else {
      content_columns.push_back(static_cast<int>(options_.included_fields.size()));
      options_.included_fields.push_back(i);
    }
  }
}

void ArrowFile::Impl::read_batch(const arrow::ipc::Message& message, size_t offset) {
  // libarrow would decompress immediately, and allocate as many view buffers as the file claims to have.
  const std::string where = place(offset);
  const FlatTable root = FlatTable::root(std::as_bytes(message.metadata()->span_as<uint8_t>()), where.c_str());
  const auto batch_header = root.table(kMessageHeader);
  if (!batch_header) throw DataError(str("[", where, "] expected a record batch, got none"));
  if (batch_header->table(kBatchCompression)) {
    throw DataError(str("[", where, "] expected record batches that are not compressed, got compressed ones ",
                        "(try writing the file again with `datasets`, which compresses none)"));
  }
  const uint32_t num_buffers = batch_header->vector_size(kBatchBuffers);
  for (uint32_t i = 0; i < batch_header->vector_size(kBatchVariadicCounts); ++i) {
    const auto count = batch_header->vector_entry<int64_t>(kBatchVariadicCounts, i);
    if (count < 0 || count > num_buffers)
      throw DataError(str("[", where, "] expected at most ", num_buffers, " buffers for a column, got ", count));
  }

  Batch batch;
  if (!options_.included_fields.empty()) {
    const arrow::ipc::DictionaryMemo dictionaries;
    batch.content =
        check_arrow(arrow::ipc::ReadRecordBatch(message, schema, &dictionaries, options_), where, kExpected);
    batch.num_rows = batch.content->num_rows();
  } else {
    batch.num_rows = batch_header->scalar<int64_t>(0, 0);
  }
  if (batch.num_rows < 0 || batch.num_rows > INT64_MAX - num_rows)
    throw DataError(str("[", where, "] expected a number of rows, got ", batch.num_rows));
  batch.first_row = num_rows;
  batch.is_checked = std::make_unique<std::once_flag[]>(columns.size());
  batch.is_checked_fully = std::make_unique<std::once_flag[]>(columns.size());
  batch.readers.resize(columns.size());
  num_rows += batch.num_rows;
  batches.push_back(std::move(batch));
}

// Also checks that the column can be read at all.
Batch& ArrowFile::Impl::batch_of(int column, int64_t row) {
  MILLRACE_CHECK(column >= 0 && column < static_cast<int>(columns.size()) && row >= 0 && row < num_rows);
  const size_t i = static_cast<size_t>(column);
  if (content_columns[i] < 0) {
    throw DataError(str("[", place(), "] expected column ", in_quotes(columns[i].name),
                        " with its values in place, got ", in_quotes(columns[i].type)));
  }
  return *std::prev(
      std::upper_bound(batches.begin(), batches.end(), row, [](int64_t r, const Batch& b) { return r < b.first_row; }));
}

const ArrowColumnReader& ArrowFile::Impl::reader(int column, int64_t row, int64_t& row_in_batch) {
  Batch& batch = batch_of(column, row);
  const size_t i = static_cast<size_t>(column);
  row_in_batch = row - batch.first_row;
  std::call_once(batch.is_checked[i], [&] {
    const auto& array = batch.content->column(content_columns[i]);
    const std::string where = str(place(), " column ", in_quotes(columns[i].name));
    check_arrow(array->Validate(), where, "a column within its record batch");
    if (array->length() != batch.num_rows)
      throw DataError(str("[", where, "] expected ", batch.num_rows, " rows, got ", array->length()));
    batch.readers[i] = ArrowColumnReader(array->data(), where);
  });
  return batch.readers[i];
}

std::shared_ptr<arrow::Array> ArrowFile::Impl::checked_array(int column, int64_t row, int64_t& row_in_batch) {
  reader(column, row, row_in_batch);
  Batch& batch = batch_of(column, row);
  const size_t i = static_cast<size_t>(column);
  const auto& array = batch.content->column(content_columns[i]);
  std::call_once(batch.is_checked_fully[i], [&] {
    check_arrow(array->ValidateFull(), str(place(), " column ", in_quotes(columns[i].name)), "valid cells");
  });
  return array;
}

std::shared_ptr<arrow::DataType> ArrowAccess::type(const ArrowFile& file, int column) {
  return file.impl_->schema->field(column)->type();
}
std::shared_ptr<arrow::Array> ArrowAccess::array(const ArrowFile& file, int column, int64_t row,
                                                 int64_t& row_in_array) {
  return file.impl_->checked_array(column, row, row_in_array);
}

ArrowFile::ArrowFile(const std::filesystem::path& path) : impl_(std::make_unique<Impl>(path)) {}
ArrowFile::~ArrowFile() = default;
ArrowFile::ArrowFile(ArrowFile&&) noexcept = default;
ArrowFile& ArrowFile::operator=(ArrowFile&&) noexcept = default;

const std::filesystem::path& ArrowFile::path() const {
  return impl_->map.path();
}
int64_t ArrowFile::num_rows() const {
  return impl_->num_rows;
}
int64_t ArrowFile::num_batches() const {
  return static_cast<int64_t>(impl_->batches.size());
}
const std::vector<ArrowColumn>& ArrowFile::columns() const {
  return impl_->columns;
}
int ArrowFile::find_column(const std::string& name) const {
  for (size_t i = 0; i < impl_->columns.size(); ++i) {
    if (impl_->columns[i].name == name) return static_cast<int>(i);
  }
  return -1;
}
const std::string& ArrowFile::damage() const {
  return impl_->damage;
}
std::string ArrowFile::metadata(const std::string& key) const {
  const auto& metadata = impl_->schema->metadata();
  return metadata && metadata->Contains(key) ? metadata->Get(key).ValueOrDie() : "";
}

std::optional<std::span<const std::byte>> ArrowFile::bytes(int column, int64_t row) const {
  int64_t row_in_batch = 0;
  return impl_->reader(column, row, row_in_batch).bytes(row_in_batch);
}
std::optional<int64_t> ArrowFile::integer(int column, int64_t row) const {
  int64_t row_in_batch = 0;
  return impl_->reader(column, row, row_in_batch).integer(row_in_batch);
}
bool ArrowFile::is_null(int column, int64_t row) const {
  int64_t row_in_batch = 0;
  return impl_->reader(column, row, row_in_batch).is_null(row_in_batch);
}

}  // namespace millrace
