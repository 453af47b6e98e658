// Damaged Arrow files: read as far as they go, or refused; no cell ever lies outside the file.
#include <arrow/api.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/writer.h>

#include <cstdlib>

#include "base/error.h"
#include "damaged_files.h"
#include "formats/arrow_file.h"
#include "formats/arrow_writer.h"

namespace millrace {
namespace {

// A file may claim billions of null rows.
constexpr int64_t kMaxRowsRead = 100;

void read_arrow(const std::string& text) {
  const MemoryFile memory(text);
  const ArrowFile file(memory.path());
  const auto num_columns = static_cast<int>(file.columns().size());
  bool is_refused = false;
  std::string reason;
  for (int column = 0; column < num_columns; ++column) {
    for (int64_t i = 0; i < std::min(file.num_rows(), kMaxRowsRead); ++i) {
      // The first rows and the last.
      const int64_t row = i < kMaxRowsRead / 2 ? i : file.num_rows() - 1 - (i - kMaxRowsRead / 2);
      if (row < 0 || row >= file.num_rows()) continue;
      try {
        file.is_null(column, row);
        if (const auto bytes = file.bytes(column, row)) touch(*bytes);
      } catch (const DataError& error) {
        reason = error.what();
        is_refused = reason.find("expected string or binary") == std::string::npos;
      }
      try {
        file.integer(column, row);
      } catch (const DataError& error) {
        reason = error.what();
      }
      if (is_refused) throw DataError(reason);
    }
  }
  check_report(inspect_arrow_file, text);
}

template <typename Result>
auto value_of(Result result) {
  if (!result.ok()) std::abort();
  return *result;
}

std::string stream_of(const std::shared_ptr<arrow::RecordBatch>& batch, bool file_format) {
  const auto sink = value_of(arrow::io::BufferOutputStream::Create());
  auto options = arrow::ipc::IpcWriteOptions::Defaults();
  const auto writer = file_format ? value_of(arrow::ipc::MakeFileWriter(sink, batch->schema(), options))
                                  : value_of(arrow::ipc::MakeStreamWriter(sink, batch->schema(), options));
  if (!writer->WriteRecordBatch(*batch).ok() || !writer->WriteRecordBatch(*batch->Slice(1, 2)).ok()) std::abort();
  if (!writer->Close().ok()) std::abort();
  return value_of(sink->Finish())->ToString();
}

// Three rows of every kind of column that is read: a value, null, a long value.
std::shared_ptr<arrow::RecordBatch> every_type() {
  arrow::FieldVector fields;
  arrow::ArrayVector arrays;
  const auto add = [&](const std::string& name, auto&& builder, auto value, auto other) {
    if (!builder.Append(value).ok() || !builder.AppendNull().ok() || !builder.Append(other).ok()) std::abort();
    arrays.push_back(value_of(builder.Finish()));
    fields.push_back(arrow::field(name, arrays.back()->type()));
  };
  const std::string longer(60, 'x');
  add("text", arrow::StringBuilder(), "a cat", longer);
  add("large", arrow::LargeBinaryBuilder(), "\x01\x02", longer);
  add("view", arrow::StringViewBuilder(), "in place", longer);
  add("i8", arrow::Int8Builder(), 1, -1);
  add("i64", arrow::Int64Builder(), 1, INT64_MAX);
  add("u64", arrow::UInt64Builder(), 1, 2);
  add("bool", arrow::BooleanBuilder(), true, false);
  arrays.push_back(
      value_of(arrow::StructArray::Make({arrays[1], arrays[0]}, std::vector<std::string>{"bytes", "path"})));
  fields.push_back(arrow::field("png", arrays.back()->type()));
  const auto add_list = [&](const std::string& name, auto&& list, auto& values) {
    if (!list.Append().ok() || !values.Append("first").ok() || !values.Append("second").ok() ||
        !list.AppendNull().ok() || !list.Append().ok()) {
      std::abort();
    }
    arrays.push_back(value_of(list.Finish()));
    fields.push_back(arrow::field(name, arrays.back()->type()));
  };
  const auto texts = std::make_shared<arrow::StringBuilder>(), more = std::make_shared<arrow::StringBuilder>();
  add_list("texts", arrow::ListBuilder(arrow::default_memory_pool(), texts), *texts);
  add_list("large_texts", arrow::LargeListBuilder(arrow::default_memory_pool(), more), *more);
  arrays.push_back(std::make_shared<arrow::NullArray>(3));
  fields.push_back(arrow::field("none", arrow::null()));
  return arrow::RecordBatch::Make(arrow::schema(fields), 3, arrays);
}

std::vector<std::string> arrow_samples() {
  const std::string written = file_of([](const std::filesystem::path& path) {
    ArrowStreamWriter writer(path, {{"key", ArrowType::kString}, {"png", ArrowType::kImage}, {"t", ArrowType::kInt32}});
    const std::string png(80, 'p');
    for (int64_t i = 0; i < 5; ++i) {
      writer.add_row({std::string_view("k"), std::as_bytes(std::span(png)), i % 2 ? ArrowCell(i) : ArrowCell()});
    }
    writer.close();
  });
  return {written, stream_of(every_type(), false), stream_of(every_type(), true)};
}

constexpr FuzzTarget kArrow = {"arrow", 20000, arrow_samples, read_arrow};

TEST(DamagedArrow, FilesAreReadOrRefusedInBoundedMemory) {
  fuzz_mutations(kArrow);
}

TEST(DamagedArrow, EveryTruncationIsReadOrRefused) {
  fuzz_truncations(kArrow);
}

}  // namespace
}  // namespace millrace
