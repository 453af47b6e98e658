#include "language/row_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"
#include "language/test_support.h"

namespace millrace {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

class RowFiles : public testing::Test {
 protected:
  RowFiles() : folder_(std::filesystem::temp_directory_path() / ("millrace-rows-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~RowFiles() override { std::filesystem::remove_all(folder_); }

  RowFile open(const std::string& name, const std::string& content, const std::string& field = "") {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return RowFile(folder_ / name, row_file_kind(folder_ / name), field);
  }

  std::filesystem::path folder_;
};

TEST_F(RowFiles, LinesOfJson) {
  const RowFile rows = open("a.jsonl", "\xEF\xBB\xBF{\"a\": 1}\r\n\n{\"a\": \"x\\ny\"}\n");
  ASSERT_EQ(rows.size(), 2);
  EXPECT_EQ(rows.row(0)["a"], 1);
  EXPECT_EQ(rows.row(1)["a"], "x\ny");
  EXPECT_THAT(rows.place(1), EndsWith("a.jsonl:3"));
}

TEST_F(RowFiles, AnArrayOfObjects) {
  const RowFile rows = open("a.json", " [ {\"a\": \"],{\\\"\"},\n {\"a\": [1, {}]}\n, {} ]\n");
  ASSERT_EQ(rows.size(), 3);
  EXPECT_EQ(rows.row(0)["a"], "],{\"");
  EXPECT_EQ(rows.row(1)["a"].size(), 2u);
  EXPECT_THAT(rows.place(1), EndsWith("a.json:2"));
  EXPECT_EQ(open("b.json", "[]").size(), 0);
  EXPECT_EQ(open("c.json", "{\"version\": 1, \"data\": [{\"a\": 1}, {\"a\": 2}]}", "data").size(), 2);
}

TEST_F(RowFiles, TheListOfAMember) {
  const std::string rows = "\"data\": [{\"a\": 1}, {\"a\": 2}]";
  for (const char* before :
       {R"("name": "data", )", R"("info": {"data": [1]}, )", R"("database": [3], )", R"("s": "\"data\": [", )"}) {
    EXPECT_EQ(open("a.json", std::string("{") + before + rows + "}", "data").size(), 2) << before;
  }
  for (const char* none : {"{}", "{\"data\": 1}", "{\"info\": {\"data\": [1]}}", "[{\"data\": [1]}]", "", "{",
                           "{\"data\"", "{,]\"data\""}) {
    EXPECT_THROW(open("b.json", none, "data"), DataError) << none;
  }
}

TEST_F(RowFiles, CommaSeparatedValues) {
  const RowFile rows = open("a.csv", "input,output\r\n\"a, \"\"b\"\"\nc\",d\r\n,e\n");
  ASSERT_EQ(rows.size(), 2);
  EXPECT_EQ(rows.row(0)["input"], "a, \"b\"\nc");
  EXPECT_EQ(rows.row(0)["output"], "d");
  EXPECT_TRUE(rows.row(1)["input"].is_null());
  EXPECT_THAT(rows.place(1), EndsWith("a.csv:4"));
  const RowFile nulls = open("c.csv", "a,b\nNA,\"null\"\nna,None \n");
  EXPECT_TRUE(nulls.row(0)["a"].is_null() && nulls.row(0)["b"].is_null());
  EXPECT_EQ(nulls.row(1)["a"], "na");
  EXPECT_EQ(nulls.row(1)["b"], "None ");
  // A quote inside of a field is one, as in `datasets`.
  const RowFile inches = open("b.csv", "input,output\na 5\" disk,\"two\"\nthree,4\"\n");
  ASSERT_EQ(inches.size(), 2);
  EXPECT_EQ(inches.row(0)["input"], "a 5\" disk");
  EXPECT_EQ(inches.row(0)["output"], "two");
  EXPECT_EQ(inches.row(1)["output"], "4\"");
}

TEST_F(RowFiles, LinesOfText) {
  const RowFile rows = open("a.txt", "One.\r\n\n{\"two\": 2}\n");
  ASSERT_EQ(rows.size(), 3);
  EXPECT_EQ(rows.row(0)["text"], "One.");
  EXPECT_EQ(rows.row(1)["text"], "");
  EXPECT_EQ(rows.row(2)["text"], "{\"two\": 2}");
  EXPECT_EQ(find_row_file_kind("LICENSE.txt"), std::nullopt);
}

TEST_F(RowFiles, OtherSeparators) {
  std::ofstream(folder_ / "a.tsv", std::ios::binary) << "a\tb\n1,5\t\"x\ty\"\n\"z\"\t2\n\"q\",3\t4\n";
  const RowFile rows(folder_ / "a.tsv", RowFileKind::kCsv, "", '\t');
  ASSERT_EQ(rows.size(), 3);
  EXPECT_EQ(rows.row(0).dump(), R"({"a":"1,5","b":"x\ty"})");
  EXPECT_EQ(rows.row(1)["a"], "z");
  EXPECT_THAT(message_of<DataError>([&] { rows.row(2); }),
              HasSubstr("a.tsv:4] expected \"\\t\" behind a quoted field"));
}

TEST_F(RowFiles, ParagraphsAndWholeTexts) {
  const auto texts = [&](const std::string& content, RowFileKind kind) {
    std::ofstream(folder_ / "a.md", std::ios::binary) << content;
    const RowFile rows(folder_ / "a.md", kind);
    std::vector<std::string> found;
    for (int64_t i = 0; i < rows.size(); ++i) found.push_back(rows.row(i)["text"].get<std::string>());
    return found;
  };
  using Texts = std::vector<std::string>;
  EXPECT_EQ(texts("a\nb\n\nc\n\n\n\nd\n", RowFileKind::kParagraphs), (Texts{"a\nb", "c", "d\n"}));
  EXPECT_EQ(texts("a\r\nb\r\n\r\nc\n\n\nd", RowFileKind::kParagraphs), (Texts{"a\nb", "c", "\nd"}));
  EXPECT_EQ(texts("\n\n", RowFileKind::kParagraphs), Texts());
  EXPECT_EQ(texts("a\r\n\r\nb\n", RowFileKind::kDocument), (Texts{"a\n\nb\n"}));
  std::ofstream(folder_ / "a.md", std::ios::binary) << "a\nb\n\nc\xC3\n";
  const RowFile rows(folder_ / "a.md", RowFileKind::kParagraphs);
  EXPECT_THAT(message_of<DataError>([&] { rows.row(1); }), HasSubstr("a.md:4] expected UTF-8"));
}

TEST_F(RowFiles, RowsOfOneLineAreNumbered) {
  const RowFile rows = open("a.json", "[{\"a\": 1}, {\"a\": 2},\n{\"a\": 3}]");
  EXPECT_THAT(rows.place(1), EndsWith("a.json:1, row 1"));
  EXPECT_THAT(rows.place(2), EndsWith("a.json:2"));
}

TEST_F(RowFiles, FaultsNameTheLine) {
  const auto fault = [&](const char* name, const char* content) {
    return message_of<DataError>([&] {
      const RowFile rows = open(name, content);
      for (int64_t i = 0; i < rows.size(); ++i) rows.row(i);
    });
  };
  EXPECT_THAT(fault("a.jsonl", "{\"a\": 1}\n{\"a\": \n{\"a\": 3}\n"), HasSubstr("a.jsonl:2] expected JSON"));
  EXPECT_THAT(fault("a.jsonl", "{\"a\": 1}\n{\"a\": \"\xC3\"}\n"), HasSubstr("a.jsonl:2] expected UTF-8"));
  EXPECT_THAT(fault("a.json", "[{\"a\": 1},\n{\"a\": 2}"), HasSubstr("a.json:2] expected the end ] of the list"));
  EXPECT_THAT(fault("a.json", "[{\"a\": 1}\n{\"a\": 2}]"), HasSubstr("a.json:2] expected a comma between rows"));
  EXPECT_THAT(fault("a.json", "[{\"a\": 1},\n,{\"a\": 2}]"), HasSubstr("a.json:2] expected a row"));
  EXPECT_THAT(fault("a.csv", "x,y\n1,2\n3\n"), HasSubstr("a.csv:3] expected 2 fields"));
  EXPECT_THAT(fault("a.csv", "x\n\"a\"b\n"), HasSubstr("a.csv:2] expected a comma behind"));
  EXPECT_THAT(fault("a.csv", ""), HasSubstr("expected a header"));
  EXPECT_THAT(fault("a.json", "{\n\"data\": [{\"a\": 1}]\n}\n"), HasSubstr("a.json:1] expected a list of rows"));
  EXPECT_THROW(row_file_kind("a.xlsx"), ConfigError);
}

}  // namespace
}  // namespace millrace
