#include "formats/inspect/inspect.h"

#include "base/error.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "formats/tar.h"
#include "formats/tensorboard.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

using testing::HasSubstr;

class Inspect : public FolderTest {
 protected:
  void write_tar(std::string_view name, const std::vector<std::pair<std::string, std::string>>& members) {
    std::filesystem::create_directories(path(name).parent_path());
    TarWriter writer(path(name));
    for (const auto& [member, content] : members) writer.add(member, content);
    writer.close();
  }
};

TEST_F(Inspect, CountsTensorsByTypeAndListsThoseOfAPattern) {
  const std::vector<float> values = {1, 2, 3, 4};
  write_safetensors(path("a.safetensors"), std::vector<TensorView>{{"x.bias", DType::kF32, {4}, bytes_of(values)},
                                                                   {"x.weight", DType::kBF16, {2, 4}, bytes_of(values)},
                                                                   {"n", DType::kI64, {}, bytes_of(values).first(8)}});
  const Report all = inspect_weights(path("a.safetensors"), {});
  EXPECT_EQ(all["tensor_count"], 3);
  EXPECT_EQ(all["parameter_count"], 4 + 8 + 1);
  EXPECT_EQ(all["bytes"], 16 + 16 + 8);
  EXPECT_EQ(all["parameters_by_dtype"], (Report{{"I64", 1}, {"F32", 4}, {"BF16", 8}}));
  const Report some = inspect_weights(path("a.safetensors"), {.names = "*.bias", .stats = true});
  ASSERT_EQ(some["tensors"].size(), 1u);
  EXPECT_EQ(some["tensors"][0]["stats"]["mean"], 2.5);
  const std::string text = report_text(some);
  EXPECT_THAT(text, HasSubstr("x.bias"));
  EXPECT_THAT(text, HasSubstr("1 tensor of 3, 4 parameters (F32 4), 16 B, 0 NaN, 0 infinite"));
}

TEST_F(Inspect, NonFiniteStatisticsAreNull) {
  const std::vector<double> values = {NAN};
  write_npy(path("a.npy"), DType::kF64, std::vector<int64_t>{1}, bytes_of(values));
  const Report report = inspect_npy(path("a.npy"), {.stats = true});
  EXPECT_TRUE(report["stats"]["mean"].is_null());
  EXPECT_EQ(report["stats"]["nan"], 1);
  EXPECT_THAT(report_text(report), HasSubstr("[1]"));
}

TEST_F(Inspect, GroupsMembersIntoSamplesAsWebDatasetDoes) {
  write_tar("a.tar", {{"dir.x/000.png", "12345"}, {"dir.x/000.seg.txt", "1"}, {"dir.x/001.png", "1"}, {"noext", "1"}});
  const Report report = inspect_tar(path("a.tar"), {});
  EXPECT_EQ(report["sample_count"], 3);
  EXPECT_EQ(report["member_count"], 4);
  EXPECT_EQ(report["extensions"]["png"], (Report{{"count", 2}, {"bytes", 6}}));
  EXPECT_EQ(report["samples"][0], (Report{{"key", "dir.x/000"}, {"members", {{"png", 5}, {"seg.txt", 1}}}}));
  EXPECT_EQ(inspect_tar(path("a.tar"), {.max_listed = 1})["samples"].size(), 1u);
  EXPECT_THAT(report_text(report), HasSubstr("3 samples, 4 members, 8 B"));
}

TEST_F(Inspect, ADamagedShardOfADataSetIsNamedAndTheOthersAreCounted) {
  write_tar("data/a.tar", {{"0.txt", "x"}, {"1.txt", "x"}});
  write_tar("data/sub/b.tar", {{"0.txt", "x"}});
  write("data/c.tar", read("data/a.tar").substr(0, 1300));
  write("data/d.tar", read("data/a.tar").substr(0, 1024));  // between two members
  const Report report = inspect_data_set(path("data"), {});
  EXPECT_EQ(report["shard_count"], 4);
  EXPECT_EQ(report["damaged_count"], 2);
  EXPECT_EQ(report["sample_count"], 2 + 1 + 1 + 1);
  EXPECT_EQ(report["shards"][2]["has_end_mark"], false);
  EXPECT_EQ(report["shards"][1]["name"], "c.tar");
  EXPECT_THAT(report["shards"][1]["damage"].get<std::string>(), HasSubstr("c.tar, byte"));
  EXPECT_EQ(report["shards"][3]["name"], "sub/b.tar");
}

TEST_F(Inspect, TimesOfATraceAreOwnAndTotal) {
  write("t.json", R"({"schemaVersion":1,"traceEvents":[
    {"ph":"X","cat":"cpu_op","name":"outer","pid":1,"tid":1,"ts":0,"dur":100,"args":{"name":"not this"}},
    {"ph":"X","cat":"cpu_op","name":"inner","pid":1,"tid":1,"ts":10,"dur":30},
    {"ph":"X","cat":"cpu_op","name":"inner","pid":1,"tid":1,"ts":50,"dur":20},
    {"ph":"X","cat":"cpu_op","name":"innermost","pid":1,"tid":1,"ts":55,"dur":5},
    {"ph":"X","cat":"cpu_op","name":"outer","pid":1,"tid":2,"ts":20,"dur":7.5},
    {"ph":"i","name":"instant","pid":1,"tid":1,"ts":60},
    {"ph":"X","cat":"kernel","name":"gemm","pid":0,"tid":7,"ts":40,"dur":200}]})");
  const Report report = inspect_trace(path("t.json"), {});
  EXPECT_EQ(report["event_count"], 6);
  EXPECT_EQ(report["thread_count"], 3);
  EXPECT_EQ(report["span_us"], 240);
  const auto row = [&](const std::string& name) {
    for (const Report& entry : report["names"]) {
      if (entry["name"] == name) return entry;
    }
    return Report();
  };
  EXPECT_EQ(report["names"][0]["name"], "gemm");
  EXPECT_EQ(row("outer")["self_us"], 50 + 7.5);
  EXPECT_EQ(row("outer")["total_us"], 107.5);
  EXPECT_EQ(row("inner")["self_us"], 45);
  EXPECT_EQ(row("inner")["calls"], 2);
  EXPECT_EQ(row("innermost")["self_us"], 5);
  EXPECT_EQ(report["categories"]["cpu_op"]["self_us"], 107.5);
  EXPECT_EQ(inspect_trace(path("t.json"), {.names = "inner*"})["names"].size(), 2u);
  EXPECT_THAT(report_text(report), HasSubstr("6 events on 3 threads"));
}

TEST_F(Inspect, SaysWhenATraceIsIncompleteOrNone) {
  write("t.json", R"({"traceEvents":[{"ph":"X")");
  EXPECT_THAT(message_of<DataError>([&] { inspect_trace(path("t.json"), {}); }), HasSubstr("syntax error"));
  write("t.json", R"({"schemaVersion":1})");
  EXPECT_THAT(message_of<DataError>([&] { inspect_trace(path("t.json"), {}); }),
              HasSubstr("\"traceEvents\", got none"));
}

TEST_F(Inspect, SumsUpTagsOverTheFilesOfAFolder) {
  {
    EventWriter first(folder_);
    first.add_scalar("loss", 2, 1);
    EventWriter second(folder_);
    second.add_scalar("loss", 1, 2);
    second.add_text("note", "hi", 2);
  }
  const Report report = inspect_events(folder_, {});
  ASSERT_EQ(report["tags"].size(), 2u);
  EXPECT_EQ(report["tags"][0]["count"], 2);
  EXPECT_EQ(report["tags"][0]["last"], 1.0);
  EXPECT_EQ(report["tags"][1]["type"], "text");
  EXPECT_THAT(report_text(report), HasSubstr("1 to 2"));
}

TEST_F(Inspect, TellsFilesApartByNameAndByContent) {
  const std::vector<float> values = {1};
  const auto kind_of = [&](std::string_view name) { return detect_file_kind(path(name)); };
  write_safetensors(path("a.safetensors"), {});
  write_npy(path("a.npy"), DType::kF32, std::vector<int64_t>{1}, bytes_of(values));
  write_tar("a.tar", {{"0.txt", "x"}});
  EXPECT_EQ(kind_of("a.safetensors"), FileKind::kWeights);
  EXPECT_EQ(kind_of("a.npy"), FileKind::kNpy);
  EXPECT_EQ(kind_of("a.tar"), FileKind::kTar);
  for (const char* extension : {"safetensors", "npy", "tar"})
    write(std::string("no_") + extension, read(std::string("a.") + extension));
  EXPECT_EQ(kind_of("no_safetensors"), FileKind::kWeights);
  EXPECT_EQ(kind_of("no_npy"), FileKind::kNpy);
  EXPECT_EQ(kind_of("no_tar"), FileKind::kTar);
  write("i.json", R"({"weight_map":{}})");
  EXPECT_EQ(kind_of("i.json"), FileKind::kWeights);
  write("t.json", R"( {"schemaVersion":1,"traceEvents":[]})");
  EXPECT_EQ(kind_of("t.json"), FileKind::kTrace);
  write("c/index.json", R"({"format":"millrace checkpoint"})");
  EXPECT_EQ(kind_of("c/index.json"), FileKind::kCheckpoint);
  EXPECT_EQ(kind_of("c"), FileKind::kCheckpoint);
  write("r/step-00000010/index.json", "{}");
  EXPECT_EQ(kind_of("r"), FileKind::kCheckpoint);
  write("d/deep/0.tar", "");
  EXPECT_EQ(kind_of("d"), FileKind::kDataSet);
  write("e/events.out.tfevents.1.h", "");
  EXPECT_EQ(kind_of("e"), FileKind::kEvents);
  EXPECT_EQ(kind_of("e/events.out.tfevents.1.h"), FileKind::kEvents);
}

TEST_F(Inspect, SaysWhatItExpectsWhenAFileIsNothingItKnows) {
  const auto failure = [&](std::string_view name) {
    return message_of<DataError>([&] { detect_file_kind(path(name)); });
  };
  EXPECT_THAT(failure("missing"), HasSubstr("got nothing of that name"));
  write("text", "some words");
  EXPECT_THAT(failure("text"), HasSubstr("got something else"));
  write("empty", "");
  EXPECT_THAT(failure("empty"), HasSubstr("got an empty file"));
  write("o.json", "{\"a\": 1}");
  EXPECT_THAT(failure("o.json"), HasSubstr("got other JSON"));
  std::filesystem::create_directories(path("folder"));
  EXPECT_THAT(failure("folder"), HasSubstr("got a folder without any"));
  write("w.pt", "x");
  EXPECT_THROW(detect_file_kind(path("w.pt")), ModelError);
  write("zip", std::string("PK\x03\x04"));
  EXPECT_THROW(detect_file_kind(path("zip")), ModelError);
}

}  // namespace
}  // namespace millrace
