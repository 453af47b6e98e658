#include "formats/arrow_writer.h"

#include <gmock/gmock.h>

#include <numeric>

#include "base/error.h"
#include "base/files.h"
#include "formats/arrow_file.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

using ArrowWriterTest = FolderTest;

std::string text_at(const ArrowFile& file, int column, int64_t row) {
  const auto bytes = file.bytes(column, row);
  return bytes ? std::string(reinterpret_cast<const char*>(bytes->data()), bytes->size()) : "(null)";
}

TEST_F(ArrowWriterTest, LargeRowsGetRecordBatchesOfTheirOwn) {
  const std::string large(100 << 20, 'x');
  ArrowStreamWriter writer(path("x.arrow"), {{"blob", ArrowType::kBinary}});
  for (int i = 0; i < 5; ++i) writer.add_row({std::string_view(large)});
  writer.close();
  EXPECT_EQ(writer.bytes(), std::filesystem::file_size(path("x.arrow")));
  const ArrowFile file(path("x.arrow"));
  EXPECT_EQ(file.num_rows(), 5);
  EXPECT_EQ(file.num_batches(), 3) << "two rows are below 256 MiB, three are not";
  EXPECT_EQ(file.bytes(0, 4)->size(), large.size());
}

TEST_F(ArrowWriterTest, ARefusedRowLeavesTheOthers) {
  ArrowStreamWriter writer(path("x.arrow"), {{"key", ArrowType::kString}, {"n", ArrowType::kInt32}});
  writer.add_row({"a", int64_t{1}});
  EXPECT_THROW(writer.add_row({"b", int64_t{1} << 40}), DataError);
  EXPECT_THROW(writer.add_row({"\xFF", int64_t{1}}), DataError);
  EXPECT_THROW(writer.add_row({int64_t{1}, int64_t{1}}), DataError);
  writer.add_row({ArrowCell(), ArrowCell()});
  writer.close();
  const ArrowFile file(path("x.arrow"));
  ASSERT_EQ(file.num_rows(), 2);
  EXPECT_EQ(text_at(file, 0, 0), "a");
  EXPECT_EQ(file.integer(1, 0), 1);
  EXPECT_EQ(file.integer(1, 1), std::nullopt);
}

TEST_F(ArrowWriterTest, CopiesAnyColumnOfAnotherFile) {
  const auto json = nlohmann::ordered_json::parse(R"({"a":[1,2],"b":{"c":null}})");
  ArrowStreamWriter first(path("a.arrow"), {{"key", ArrowType::kString},
                                            {"json", ArrowType::kJson, json_type_of(json, "test")},
                                            {"png", ArrowType::kImage}});
  for (const char* key : {"x", "y", "z"}) first.add_row({key, &json, bytes_of(std::vector<char>{'p', key[0]})});
  first.close();

  const auto source = std::make_shared<const ArrowFile>(path("a.arrow"));
  std::vector<ArrowColumnSpec> columns;
  for (const ArrowColumn& column : source->columns()) columns.push_back({column.name, ArrowType::kCopy, {}, source});
  ArrowStreamWriter second(path("b.arrow"), columns);
  for (const int64_t row : {2, 0, 2}) {
    second.add_row({ArrowSourceCell{source.get(), 0, row}, ArrowSourceCell{source.get(), 1, row},
                    ArrowSourceCell{source.get(), 2, row}});
  }
  EXPECT_THROW(second.add_row({ArrowSourceCell{source.get(), 2, 0}, ArrowCell(), ArrowCell()}), DataError);
  second.close();
  const ArrowFile copy(path("b.arrow"));
  EXPECT_EQ(copy.columns()[1].type, "struct<a: list<item: int64>, b: struct<c: null>>");
  EXPECT_EQ(copy.metadata("huggingface"), source->metadata("huggingface"));
  EXPECT_EQ(text_at(copy, 0, 0) + text_at(copy, 0, 1) + text_at(copy, 0, 2), "zxz");
  EXPECT_EQ(text_at(copy, 2, 0), "pz");
  EXPECT_THROW(copy.bytes(1, 0), DataError) << "a struct without bytes";
}

TEST_F(ArrowWriterTest, AFailedWriteLeavesNothing) {
  set_write_hook_for_testing([](const std::filesystem::path&, size_t) { throw StorageError("full"); });
  const auto write = [this] {
    ArrowStreamWriter writer(path("x.arrow"), {{"key", ArrowType::kString}});
    writer.add_row({"a"});
    writer.close();
  };
  EXPECT_EQ(message_of<StorageError>(write), "full");
  set_write_hook_for_testing({});
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
  { ArrowStreamWriter unfinished(path("x.arrow"), {{"key", ArrowType::kString}}); }
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

}  // namespace
}  // namespace millrace
