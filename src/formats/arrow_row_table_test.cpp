#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/writer.h>

#include <cmath>
#include <cstdlib>
#include <random>

#include "base/error.h"
#include "formats/row_table.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

using json = nlohmann::ordered_json;
using testing::AllOf;
using testing::HasSubstr;

template <typename Result>
auto value_of(Result result) {
  if (!result.ok()) std::abort();
  return *result;
}
void check(const arrow::Status& status) {
  if (!status.ok()) std::abort();
}

class RowTableTest : public FolderTest {
 protected:
  // Row i: {"id": i, "text": "i", and then i % 7 * 1000 letters, "parts": a list of i % 3 numbers}. Pages are small.
  std::filesystem::path write_parquet(int64_t rows, int64_t rows_of_group) const {
    arrow::Int64Builder ids;
    arrow::StringBuilder texts;
    const auto numbers = std::make_shared<arrow::Int64Builder>();
    arrow::ListBuilder parts(arrow::default_memory_pool(), numbers);
    for (int64_t i = 0; i < rows; ++i) {
      check(ids.Append(i));
      check(texts.Append(text_of(i)));
      check(parts.Append());
      for (int64_t part = 0; part < i % 3; ++part) check(numbers->Append(part));
    }
    return write_columns({"id", "text", "parts"},
                         {value_of(ids.Finish()), value_of(texts.Finish()), value_of(parts.Finish())}, rows_of_group);
  }
  std::filesystem::path write_columns(const std::vector<std::string>& names, const arrow::ArrayVector& columns,
                                      int64_t rows_of_group) const {
    arrow::FieldVector fields;
    for (size_t i = 0; i < names.size(); ++i) fields.push_back(arrow::field(names[i], columns[i]->type()));
    const auto table = arrow::Table::Make(arrow::schema(fields), columns);
    const auto sink = value_of(arrow::io::FileOutputStream::Open(path("x.parquet").string()));
    const auto properties = parquet::WriterProperties::Builder().data_pagesize(10'000)->disable_dictionary()->build();
    check(parquet::arrow::WriteTable(*table, arrow::default_memory_pool(), sink, rows_of_group, properties));
    check(sink->Close());
    return path("x.parquet");
  }
  static std::string text_of(int64_t i) {
    return std::to_string(i).append(static_cast<size_t>(i % 7 * 1000), static_cast<char>('a' + i % 26));
  }
  static void expect_row(const RowTable& table, int64_t i) {
    json parts = json::array();
    for (int64_t part = 0; part < i % 3; ++part) parts.push_back(part);
    const json expected = {{"id", i}, {"text", text_of(i)}, {"parts", parts}};
    EXPECT_EQ(table.row(i), expected) << i;
  }
};

TEST_F(RowTableTest, RowsOfParquetInAnyOrder) {
  for (const int64_t rows_of_group : {10'000, 1500, 1}) {
    const int64_t rows = rows_of_group == 1 ? 20 : 6000;  // of 3 kB: several parts to a group
    const RowTable table(write_parquet(rows, rows_of_group));
    ASSERT_EQ(table.size(), rows);
    EXPECT_TRUE(table.is_packed());
    for (int64_t i = 0; i < rows; ++i) expect_row(table, i);
    std::mt19937_64 random(1);
    for (int i = 0; i < 30; ++i) expect_row(table, static_cast<int64_t>(random() % static_cast<uint64_t>(rows)));
  }
}

TEST_F(RowTableTest, HeldRowsStayInMemory) {
  const RowTable table(write_parquet(12'000, 4000));
  const std::weak_ptr<const void> first = table.hold(0);
  EXPECT_FALSE(first.expired()) << "the last ones are kept";
  for (int64_t i = 0; i < table.size(); i += 100) table.row(i);
  EXPECT_TRUE(first.expired());
  const auto held = table.hold(0);
  for (int64_t i = 0; i < table.size(); i += 100) table.row(i);
  EXPECT_EQ(table.hold(1), held);
}

TEST_F(RowTableTest, DamageIsOfItsRowGroup) {
  const std::filesystem::path file = write_parquet(3000, 1000);
  std::string content = read("x.parquet");
  const size_t at = content.find(text_of(1503).substr(0, 200));
  ASSERT_NE(at, std::string::npos) << "not compressed";
  content.replace(at - 20'000, 20'000, 20'000, '\xFF');  // a page, and texts with their lengths
  write("x.parquet", content);
  const RowTable table(file);
  int64_t damaged = 0;
  for (int64_t i = 0; i < table.size(); ++i) {
    try {
      expect_row(table, i);
    } catch (const DataError& error) {
      ++damaged;
      EXPECT_EQ(i / 1000, 1);
      EXPECT_THAT(error.what(), HasSubstr("x.parquet"));
    }
  }
  EXPECT_GT(damaged, 0);
}

TEST_F(RowTableTest, WhatJsonHasNoWordFor) {
  arrow::DoubleBuilder numbers;
  for (const double number : {0.5, std::nan(""), -HUGE_VAL}) check(numbers.Append(number));
  arrow::StringBuilder texts;
  for (const char* text : {"a", "\xFF", "c"}) check(texts.Append(text));
  const RowTable table(write_columns({"x", "y"}, {value_of(numbers.Finish()), value_of(texts.Finish())}, 2));
  EXPECT_EQ(table.row(0), (json{{"x", 0.5}, {"y", "a"}}));
  EXPECT_THAT(message_of<DataError>([&] { table.row(1); }),
              AllOf(HasSubstr("x.parquet, row 1, column \"y\"] expected a valid cell"), HasSubstr("UTF8")));
  EXPECT_EQ(table.row(2), (json{{"x", nullptr}, {"y", "c"}}));
}

TEST_F(RowTableTest, NoRowsAndNoParquet) {
  EXPECT_EQ(RowTable(write_parquet(0, 10)).size(), 0);
  write("x.parquet", "PAR1 and nothing else");
  EXPECT_THAT(message_of<DataError>([&] { RowTable(path("x.parquet")).size(); }), HasSubstr("x.parquet"));
}

}  // namespace
}  // namespace millrace
