#include "formats/mlperf_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/files.h"
#include "base/text.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

std::vector<std::string> keys_of(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& item : object.items()) keys.push_back(item.key());
  return keys;
}

Json parsed(const std::string& line) {
  EXPECT_THAT(line, StartsWith(":::MLLOG {"));
  return Json::parse(line.substr(9));
}

TEST(MlperfLine, HasTheKeysInTheirOrder) {
  const auto here = std::source_location::current();
  const Json line = parsed(mlperf_line({.type = MlperfEventType::kEnd,
                                        .key = "eval_stop",
                                        .value = 0.585,
                                        .metadata = {{"samples_count", 262144}},
                                        .time_ms = 1700000000123},
                                       here));
  EXPECT_THAT(keys_of(line), ElementsAre("namespace", "time_ms", "event_type", "key", "value", "metadata"));
  EXPECT_THAT(keys_of(line["metadata"]), ElementsAre("file", "lineno", "samples_count"));
  EXPECT_EQ(line["namespace"], "");
  EXPECT_EQ(line["time_ms"], 1700000000123);
  EXPECT_EQ(line["event_type"], "INTERVAL_END");
  EXPECT_EQ(line["value"], 0.585);
  EXPECT_EQ(line["metadata"]["file"], "src/formats/mlperf_log_test.cpp");
  EXPECT_EQ(line["metadata"]["lineno"], here.line());
}

TEST(MlperfLine, IsSpacedAsPythonWould) {
  const std::string line = mlperf_line({.key = "k", .value = {{"a", 1}, {"b", {1.5, nullptr}}}, .time_ms = 3});
  EXPECT_THAT(line, StartsWith(":::MLLOG {\"namespace\": \"\", \"time_ms\": 3, \"event_type\": \"POINT_IN_TIME\", "
                               "\"key\": \"k\", \"value\": {\"a\": 1, \"b\": [1.5, null]}, \"metadata\": {\"file\": "));
}

TEST(MlperfLine, KeepsTheKindOfEachValue) {
  const auto value_text = [](const Json& value) {
    const std::string line = mlperf_line({.key = "k", .value = value});
    const size_t begin = line.find("\"value\": ") + 9;
    return line.substr(begin, line.find(", \"metadata\"") - begin);
  };
  EXPECT_EQ(value_text(nullptr), "null");
  EXPECT_EQ(value_text(16), "16");
  EXPECT_EQ(value_text(1.0), "1.0");
  EXPECT_EQ(std::stod(value_text(1e-8)), 1e-8);
  EXPECT_EQ(value_text("True"), "\"True\"");
  EXPECT_EQ(value_text(NAN), "null");
}

TEST(MlperfLine, IsAsciiWhateverTheOptionsHold) {
  const std::string line = mlperf_line({.key = "submission_org", .value = "Zürich \xff\n:::MLLOG {}"});
  EXPECT_TRUE(std::all_of(line.begin(), line.end(), [](unsigned char c) { return c >= 0x20 && c < 0x7f; })) << line;
  EXPECT_THAT(parsed(line)["value"].get<std::string>(), HasSubstr("Zürich"));
}

class MlperfLogTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) / "mlperf_log";
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  void write(bool append, const std::string& key) { MlperfLog(folder_ / "run.log", append).point(key, 1); }
  std::vector<std::string> keys_in(const std::string& name) {
    std::vector<std::string> keys;
    for (const std::string& line : split(read_file(folder_ / name), '\n')) {
      if (!line.empty()) keys.push_back(parsed(line)["key"].get<std::string>());
    }
    return keys;
  }
  fs::path folder_;
};

TEST_F(MlperfLogTest, GoesOnWithALogOrKeepsTheOldOne) {
  write(false, "a");
  write(true, "b");
  EXPECT_THAT(keys_in("run.log"), ElementsAre("a", "b"));
  write(false, "c");
  write(false, "d");
  EXPECT_THAT(keys_in("run.log"), ElementsAre("d"));
  EXPECT_THAT(keys_in("run.1.log"), ElementsAre("a", "b"));
  EXPECT_THAT(keys_in("run.2.log"), ElementsAre("c"));
}

TEST_F(MlperfLogTest, TimeNeverGoesBack) {
  MlperfLog log(folder_ / "run.log", false);
  for (int i = 0; i < 3; ++i) log.start("a", "");
  int64_t before = 0;
  for (const std::string& line : split(read_file(folder_ / "run.log"), '\n')) {
    if (line.empty()) continue;
    EXPECT_GE(parsed(line)["time_ms"].get<int64_t>(), before);
    before = parsed(line)["time_ms"].get<int64_t>();
  }
  EXPECT_GT(before, 1'600'000'000'000);
}

TEST_F(MlperfLogTest, WhatCannotBeWrittenIsNamed) {
  EXPECT_THROW(MlperfLog(folder_ / "no such folder" / "run.log", false), StorageError);
  MlperfLog full("/dev/full", true);
  try {
    full.point("a", 1);
    FAIL() << "expected an error";
  } catch (const StorageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("/dev/full"));
  }
}

}  // namespace
}  // namespace millrace
