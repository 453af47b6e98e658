#include "formats/safetensors.h"

#include "base/error.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::string parse_failure(std::string_view header, size_t data_bytes) {
  const std::string text = safetensors_text(header, data_bytes);
  return message_of<ModelError>([&] { parse_safetensors(as_bytes(text), "w.safetensors"); });
}

class Safetensors : public FolderTest {};

TEST_F(Safetensors, ReadsBackWhatItWrote) {
  const std::vector<float> floats = {1, 2, 3, 4, 5, 6};
  const std::vector<uint8_t> flags = {7, 8, 9};
  const std::vector<int64_t> scalar = {-5};
  const std::vector<TensorView> tensors = {{"flags", DType::kU8, {3}, bytes_of(flags)},
                                           {"z \"quoted\" \xF0\x9F\x98\x80", DType::kF32, {2, 3}, bytes_of(floats)},
                                           {"empty", DType::kBF16, {0, 4}, {}},
                                           {"scalar", DType::kI64, {}, bytes_of(scalar)}};
  write_safetensors(path("a.safetensors"), tensors, {{"format", "pt"}, {"note", "two\nlines"}});
  const SafetensorsFile file(path("a.safetensors"));
  ASSERT_EQ(file.tensors().size(), 4u);
  for (const TensorView& written : tensors) {
    const TensorView* found = file.find(written.name);
    ASSERT_NE(found, nullptr) << written.name;
    EXPECT_EQ(found->dtype, written.dtype);
    EXPECT_EQ(found->shape, written.shape);
    ASSERT_EQ(found->bytes.size(), written.bytes.size());
    EXPECT_TRUE(written.bytes.empty() ||
                std::memcmp(found->bytes.data(), written.bytes.data(), written.bytes.size()) == 0);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(found->bytes.data()) % size_of(found->dtype), 0u) << "aligned";
  }
  EXPECT_EQ(file.find("other"), nullptr);
  EXPECT_EQ(file.metadata().at("note"), "two\nlines");
}

TEST_F(Safetensors, TheOrderGivenDoesNotChangeTheFile) {
  const std::vector<float> floats = {1, 2};
  const std::vector<uint8_t> flags = {7};
  const TensorView a{"a", DType::kU8, {1}, bytes_of(flags)}, b{"b", DType::kF32, {2}, bytes_of(floats)};
  write_safetensors(path("1"), std::vector{a, b});
  write_safetensors(path("2"), std::vector{b, a});
  EXPECT_EQ(read("1"), read("2"));
  EXPECT_THAT(read("1"), HasSubstr(R"({"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":)"));
  EXPECT_EQ(read("1").size() % 8, 1u) << "header padded to 8, then 8 + 1 bytes";
}

TEST_F(Safetensors, AFailedWriteLeavesTheOldFileAndNothingElse) {
  write_safetensors(path("a"), {});
  const std::string before = read("a");
  const std::vector<float> floats = {1, 2};
  const std::vector<TensorView> tensors = {{"b", DType::kF32, {2}, bytes_of(floats)}};
  int writes = 0;
  set_write_hook_for_testing([&](const auto&, size_t) {
    if (++writes == 3) throw StorageError("disk full");
  });
  EXPECT_THROW(write_safetensors(path("a"), tensors), StorageError);
  set_write_hook_for_testing(nullptr);
  EXPECT_EQ(read("a"), before);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);
}

TEST_F(Safetensors, BytesOfTheWrongSizeOrTheSameNameTwiceAreBugs) {
  const std::vector<float> floats = {1, 2};
  const TensorView good{"b", DType::kF32, {2}, bytes_of(floats)}, bad{"c", DType::kF32, {3}, bytes_of(floats)};
  EXPECT_THROW(write_safetensors(path("a"), std::vector{bad}), LogicError);
  EXPECT_THROW(write_safetensors(path("a"), std::vector{good, good}), LogicError);
  EXPECT_TRUE(std::filesystem::is_empty(folder_));
}

TEST(SafetensorsParser, AcceptsAnyKeyOrderAnyTensorOrderAndUnknownFields) {
  const std::string text = safetensors_text(
      R"( {"b":{"data_offsets":[4,6],"x":{"deep":[1,{"y":null}]},"shape":[2],"dtype":"U8"},)"
      R"("a":{"shape":[1],"dtype":"F32","data_offsets":[0,4]},"e":{"dtype":"F64","shape":[0],"data_offsets":[4,4]},)"
      R"("__metadata__":null}  )" +
          1,
      6);
  const SafetensorsContent content = parse_safetensors(as_bytes(text), "x");
  ASSERT_EQ(content.tensors.size(), 3u);
  EXPECT_EQ(content.tensors[0].name, "a");
  EXPECT_EQ(content.tensors[1].name, "e");
  EXPECT_EQ(content.tensors[2].name, "b");
  EXPECT_EQ(content.tensors[2].bytes.size(), 2u);
}

TEST(SafetensorsParser, RefusesDamagedLengths) {
  const std::string text = safetensors_text("{}", 0);
  for (size_t size = 0; size < text.size(); ++size) {
    EXPECT_THROW(parse_safetensors(as_bytes(text).first(size), "x"), ModelError) << size;
  }
  std::string huge = text;
  huge[7] = '\x7F';
  EXPECT_THAT(message_of<ModelError>([&] { parse_safetensors(as_bytes(huge), "x"); }),
              HasSubstr("[x, byte 0] expected a safetensors header of at most 2 bytes, got a length of"));
  EXPECT_THAT(parse_failure("{}", 3), HasSubstr("expected 0 bytes of tensors after the header, got 3"));
}

TEST(SafetensorsParser, RefusesWhatIsNotTheFormat) {
  const std::vector<std::pair<const char*, const char*>> cases = {
      {"", "expected a safetensors header in JSON"},
      {"[]", "expected a safetensors header in JSON"},
      {"{", "syntax error"},
      {"{}x", "syntax error"},
      {" {}", "expected a safetensors header in JSON"},
      {R"({"a":1})", R"([w.safetensors, header of "a"] expected an object, got a number)"},
      {R"({"a":null})", "expected an object, got null"},
      {R"({"a":{}})", "expected the field dtype, got none"},
      {R"({"a":{"dtype":"F32","shape":[1]}})", "expected the field data_offsets, got none"},
      {R"({"a":{"dtype":"F12","shape":[1],"data_offsets":[0,4]}})", "got \"F12\""},
      {R"({"a":{"dtype":4,"shape":[1],"data_offsets":[0,4]}})", "expected a string as dtype"},
      {R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", "expected an array as shape"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "expected whole numbers as shape"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", "expected whole numbers as shape"},
      {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", "expected whole numbers as shape"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", "dimensions below 2^63"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", "expected two data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", "expected two data_offsets"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", "expected 4 bytes for F32 [1], got 8"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})",
       "expected data_offsets that continue at 0, got [4, 0]"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "expected data_offsets that continue at 0"},
      {R"({"a":{"dtype":"F32","shape":[1],"shape":[1],"data_offsets":[0,4]}})", "\"shape\" twice"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{}})", "expected tensor names that differ"},
      {R"({"__metadata__":{"a":1}})", "expected a string as metadata value"},
      {R"({"__metadata__":{"a":"1","a":"2"}})", "expected metadata keys that differ"},
      {R"({"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,4]}})", "a shape below 2^63 bytes"},
      {R"({"a":{"dtype":"F32","shape":[0,9223372036854775807],"data_offsets":[0,0]}})", "a shape below 2^63 bytes"},
      {"{\"\xFF\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", "syntax error"},
  };
  for (const auto& [header, expected] : cases) EXPECT_THAT(parse_failure(header, 4), HasSubstr(expected)) << header;
  EXPECT_THAT(parse_failure(std::string_view("{}\0", 3), 4), HasSubstr("expected a safetensors header"));
}

TEST(SafetensorsParser, RefusesOverlapsAndHoles) {
  const auto header = [](const char* second) {
    return std::string(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],)") +
           "\"data_offsets\":" + second + "}}";
  };
  EXPECT_THAT(parse_failure(header("[2,6]"), 6),
              HasSubstr("header of \"b\"] expected data_offsets that continue at 4"));
  EXPECT_THAT(parse_failure(header("[5,9]"), 9),
              HasSubstr("header of \"b\"] expected data_offsets that continue at 4"));
  EXPECT_THAT(parse_failure(header("[4,8]"), 7), HasSubstr("cut short"));
}

TEST(SafetensorsParser, BoundsDepthAndRank) {
  std::string deep = R"({"a":{"x":)";
  for (int i = 0; i < 100000; ++i) deep += '[';
  EXPECT_THAT(parse_failure(deep, 0), HasSubstr("not nested so deep"));
  std::string rank = R"({"a":{"shape":[)";
  for (int i = 0; i < 100; ++i) rank += "1,";
  EXPECT_THAT(parse_failure(rank, 0), HasSubstr("at most 64 dimensions"));
}

TEST(SafetensorsParser, MessagesCarryNoControlCharactersOfTheFile) {
  const std::string message = parse_failure("{\"\\u001b[31m\":1}", 0);
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
  EXPECT_THAT(message, HasSubstr("\\u001b[31m"));
}

TEST(DTypes, NamesAndSizesGoBothWays) {
  for (const DType dtype : kAllDTypes) {
    EXPECT_EQ(parse_dtype(dtype_name(dtype)), dtype);
    EXPECT_GE(size_of(dtype), 1u);
  }
  EXPECT_EQ(parse_dtype("F33"), std::nullopt);
  EXPECT_EQ(size_of(DType::kBF16), 2u);
}

}  // namespace
}  // namespace millrace
