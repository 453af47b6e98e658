// Damaged Parquet files: their rows are read, refused one by one, or the file is.
#include <arrow/api.h>
#include <arrow/io/memory.h>
#include <arrow/util/type_fwd.h>
#include <parquet/arrow/writer.h>

#include <cstdlib>

#include "base/error.h"
#include "damaged_files.h"
#include "formats/row_table.h"

namespace millrace {
namespace {

// A file may claim billions of rows.
constexpr int64_t kMaxRowsRead = 100;

void read_parquet(const std::string& text) {
  const MemoryFile memory(text);
  const RowTable table(memory.path());
  std::string reason;
  // The last rows, then the first.
  for (int64_t i = std::min(table.size(), kMaxRowsRead) - 1; i >= 0; --i) {
    const int64_t row = i < kMaxRowsRead / 2 ? i : table.size() - kMaxRowsRead + i;
    if (row < 0) continue;
    try {
      touch(as_bytes(table.row(row).dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace)));
    } catch (const DataError& error) {
      reason = error.what();
    }
  }
  if (!reason.empty()) throw DataError(reason);
}

template <typename Result>
auto value_of(Result result) {
  if (!result.ok()) std::abort();
  return *result;
}
void check(const arrow::Status& status) {
  if (!status.ok()) std::abort();
}

// A text, a number, a word of a dictionary, and a list of messages.
std::shared_ptr<arrow::Table> conversations() {
  arrow::StringBuilder texts;
  arrow::DoubleBuilder numbers;
  arrow::StringDictionaryBuilder words;
  const auto role = std::make_shared<arrow::StringBuilder>(), content = std::make_shared<arrow::StringBuilder>();
  const auto fields = arrow::struct_({arrow::field("role", arrow::utf8()), arrow::field("content", arrow::utf8())});
  const auto message = std::make_shared<arrow::StructBuilder>(
      fields, arrow::default_memory_pool(), std::vector<std::shared_ptr<arrow::ArrayBuilder>>{role, content});
  arrow::ListBuilder messages(arrow::default_memory_pool(), message);
  for (int i = 0; i < 12; ++i) {
    check(i % 5 == 4 ? texts.AppendNull() : texts.Append(std::string(static_cast<size_t>(3 * i), 'x')));
    check(numbers.Append(i / 4.0));
    check(words.Append(i % 2 == 0 ? "even" : "odd"));
    check(messages.Append());
    for (int turn = 0; turn < i % 3; ++turn) {
      check(message->Append());
      check(role->Append(turn == 0 ? "user" : "assistant"));
      check(content->Append("turn " + std::to_string(turn)));
    }
  }
  const arrow::ArrayVector columns = {value_of(texts.Finish()), value_of(numbers.Finish()), value_of(words.Finish()),
                                      value_of(messages.Finish())};
  return arrow::Table::Make(
      arrow::schema({arrow::field("text", columns[0]->type()), arrow::field("number", columns[1]->type()),
                     arrow::field("word", columns[2]->type()), arrow::field("messages", columns[3]->type())}),
      columns);
}

std::vector<std::string> parquet_samples() {
  std::vector<std::string> samples;
  for (const auto codec : {arrow::Compression::UNCOMPRESSED, arrow::Compression::SNAPPY}) {
    const auto sink = value_of(arrow::io::BufferOutputStream::Create());
    const auto properties = parquet::WriterProperties::Builder().compression(codec)->data_pagesize(64)->build();
    // With the schema of Arrow in it, which alone says that a column is of a dictionary.
    const auto as_arrow = parquet::ArrowWriterProperties::Builder().store_schema()->build();
    check(parquet::arrow::WriteTable(*conversations(), arrow::default_memory_pool(), sink, 5, properties, as_arrow));
    samples.push_back(value_of(sink->Finish())->ToString());
  }
  return samples;
}

constexpr FuzzTarget kParquet = {"parquet", 5000, parquet_samples, read_parquet};

TEST(DamagedParquet, FilesAreReadOrRefusedInBoundedMemory) {
  fuzz_mutations(kParquet);
}

TEST(DamagedParquet, EveryTruncationIsRefused) {
  fuzz_truncations(kParquet);
}

}  // namespace
}  // namespace millrace
