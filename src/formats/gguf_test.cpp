#include "formats/gguf.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "formats/dequantise.h"
#include "formats/gguf_test_support.h"
#include "formats/inspect/inspect.h"
#include "formats/tensor_stats.h"
#include "formats/test_support.h"
#include "formats/weight_store.h"

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint32_t kF32 = 0, kQ4_1 = 3;
const std::filesystem::path kGolden = std::filesystem::path(MILLRACE_GOLDEN) / "gguf";

std::string failure(const std::string& text) {
  return message_of<ModelError>([&] { parse_gguf(as_bytes(text), "w.gguf"); });
}

const TensorView& tensor_of(const std::vector<TensorView>& tensors, std::string_view name) {
  return *std::find_if(tensors.begin(), tensors.end(), [&](const TensorView& tensor) { return tensor.name == name; });
}

// gguf-py 0.19.0 wrote the file and its own dequantised values.
TEST(Gguf, BlocksDequantiseToTheBitsOfGgufPy) {
  const GgufFile file(kGolden / "every_type.gguf");
  const SafetensorsFile expected(kGolden / "every_type.safetensors");
  size_t compared = 0;
  for (const TensorView& tensor : file.tensors()) {
    const TensorView* values = expected.find(tensor.name);
    ASSERT_NE(values, nullptr) << tensor.name;
    EXPECT_EQ(tensor.shape, values->shape) << tensor.name;
    if (tensor.block_format == BlockFormat::kNone) continue;
    std::vector<float> got(static_cast<size_t>(element_count(tensor.shape)));
    dequantise_blocks(tensor.block_format, tensor.bytes, got);
    ASSERT_EQ(got.size() * sizeof(float), values->bytes.size());
    EXPECT_EQ(std::memcmp(got.data(), values->bytes.data(), values->bytes.size()), 0) << tensor.name;
    ++compared;
  }
  EXPECT_EQ(compared, kAllBlockFormats.size());
}

TEST(Gguf, KeysOfEveryTypeAreRead) {
  const GgufFile file(kGolden / "every_type.gguf");
  const GgufMetadata& keys = file.metadata();
  EXPECT_EQ(keys.integer("a.u8"), 200);
  EXPECT_EQ(keys.integer("a.i8"), -5);
  EXPECT_EQ(keys.integer("a.u16"), 60000);
  EXPECT_EQ(keys.integer("a.i16"), -30000);
  EXPECT_EQ(keys.integer("a.u32"), 4000000000);
  EXPECT_EQ(keys.integer("a.i32"), -7);
  EXPECT_EQ(keys.integer("a.u64"), int64_t{1} << 60);
  EXPECT_EQ(keys.integer("a.i64"), -(int64_t{1} << 60));
  EXPECT_EQ(keys.number("a.f32"), 1e-5) << "the shortest decimal, not the fp32's expansion";
  EXPECT_EQ(keys.number("a.f64"), 0.1);
  EXPECT_EQ(keys.string("a.string"), "h\xC3\xA9");
  EXPECT_EQ(keys.strings("a.strings"), (std::vector<std::string_view>{"one", "", "three"}));
  EXPECT_EQ(keys.integer("missing"), std::nullopt);
  EXPECT_EQ(keys.as_text().at("a.bool"), "true");
  EXPECT_EQ(keys.as_text().at("a.ints"), "[3 int32]");
  EXPECT_THAT(message_of<ModelError>([&] { (void)keys.integer("a.string"); }),
              HasSubstr("key \"a.string\"] expected an integer, got string"));
  EXPECT_THAT(message_of<ModelError>([&] { (void)keys.string("a.strings"); }), HasSubstr("an array of string"));
}

TEST(Gguf, DimensionsAreTurnedRound) {
  for (const uint32_t version : {2u, 3u}) {
    const std::string text = GgufText(version).tensor("w", {5, 3}, kF32, 0).file(60);
    const GgufContent content = parse_gguf(as_bytes(text), "w.gguf");
    EXPECT_EQ(content.version, version);
    EXPECT_THAT(content.tensors.at(0).shape, ElementsAre(3, 5));
    EXPECT_EQ(content.tensors[0].bytes.size(), 60u);
  }
}

TEST(Gguf, DamageIsRefusedWithItsPlace) {
  EXPECT_THAT(failure("GGUX"), HasSubstr("expected the letters GGUF"));
  EXPECT_THAT(failure(GgufText(1).file(0)), HasSubstr("version 2 or 3, got version 1"));
  EXPECT_THAT(failure(GgufText(3u << 24).file(0)), HasSubstr("a big-endian file"));
  EXPECT_THAT(failure(GgufText().string("k", "v").string("k", "v").file(0)),
              HasSubstr("\"k\"] expected each key once"));
  EXPECT_THAT(failure(GgufText().tensor("w", {1}, kF32, 0).tensor("w", {1}, kF32, 32).file(64)),
              HasSubstr("expected each tensor once"));
  EXPECT_THAT(failure(GgufText().tensor("w", {1}, kF32, 0).tensor("v", {1}, kF32, 0).file(64)),
              HasSubstr("bytes of its own"));
  EXPECT_THAT(failure(GgufText().tensor("w", {1}, kF32, 16).file(64)), HasSubstr("divisible by 32, got 16"));
  EXPECT_THAT(failure(GgufText().tensor("w", {17}, kF32, 0).file(64)), HasSubstr("cut short"));
  EXPECT_THAT(failure(GgufText().tensor("w", {48}, kQ4_1, 0).file(64)), HasSubstr("whole Q4_1 blocks of 32"));
  EXPECT_THAT(failure(GgufText().tensor("w", {32}, 23, 0).file(64)), HasSubstr("Q6_K, got type 23"));
  EXPECT_THAT(failure(GgufText().tensor("w", {1, 1, 1, 1, 1}, kF32, 0).file(64)), HasSubstr("at most 4 dimensions"));
  EXPECT_THAT(failure(GgufText().tensor("w", {uint64_t{1} << 40, uint64_t{1} << 40}, kF32, 0).file(64)),
              HasSubstr("below 2^63 bytes"));
  EXPECT_THAT(failure(GgufText().number("general.alignment", GgufType::kUint32, 24u).file(0)),
              HasSubstr("a power of two"));
  EXPECT_THAT(failure(GgufText().number("n", GgufType::kArray, 9u).file(64)), HasSubstr("an array of arrays"));
}

TEST(Gguf, ALlamaHasHuggingFacesNamesAndConfiguration) {
  const WeightStore store(kGolden / "llama.gguf");
  const SafetensorsFile expected(kGolden / "llama.safetensors");
  EXPECT_EQ(store.tensors().size(), expected.tensors().size());
  for (const TensorView& tensor : expected.tensors()) {
    ASSERT_NE(store.find(tensor.name), nullptr) << tensor.name;
    EXPECT_EQ(store.find(tensor.name)->shape, tensor.shape) << tensor.name;
  }
  EXPECT_EQ(store.find("model.layers.0.self_attn.q_proj.weight")->interleaved_heads, 2);
  EXPECT_EQ(store.find("model.layers.0.self_attn.k_proj.weight")->interleaved_heads, 1);
  EXPECT_EQ(store.find("model.layers.0.self_attn.v_proj.weight")->interleaved_heads, 0);
  const auto config = nlohmann::json::parse(store.config_json().value());
  EXPECT_EQ(config["num_attention_heads"], 2);
  EXPECT_EQ(config["num_key_value_heads"], 1);
  EXPECT_EQ(config["rms_norm_eps"], 1e-5);
  EXPECT_EQ(config["tie_word_embeddings"], true);
  EXPECT_FALSE(config.contains("rope_scaling"));
}

class GgufStore : public FolderTest {
 protected:
  static GgufText llama() {
    GgufText text;
    text.string("general.architecture", "llama");
    for (const auto& [key, value] : std::vector<std::pair<std::string, uint32_t>>{{"attention.head_count", 2},
                                                                                  {"embedding_length", 256},
                                                                                  {"feed_forward_length", 64},
                                                                                  {"block_count", 1},
                                                                                  {"context_length", 131072}}) {
      text.number("llama." + key, GgufType::kUint32, value);
    }
    text.number("llama.attention.layer_norm_rms_epsilon", GgufType::kFloat32, 1e-5f);
    text.number("llama.rope.freq_base", GgufType::kFloat32, 500000.0f);
    return text;
  }
};

TEST_F(GgufStore, FrequencyFactorsBecomeLlama31sScaling) {
  // Factors of a head of 128, as llama.cpp's converter makes them for factor 8.
  std::vector<float> factors(64, 1.0f);
  for (size_t i = 0; i < factors.size(); ++i) {
    const double wavelength = 2 * M_PI * std::pow(500000.0, static_cast<double>(i) / 64);
    const double smooth = (8192 / wavelength - 1) / 3;
    if (wavelength > 8192) factors[i] = 8;
    if (wavelength <= 8192 && wavelength >= 2048) factors[i] = static_cast<float>(1 / ((1 - smooth) / 8 + smooth));
  }
  std::string text =
      llama().tensor("token_embd.weight", {256, 1}, kF32, 0).tensor("rope_freqs.weight", {64}, kF32, 1024).file(1024);
  const std::string header = text;
  text.append(reinterpret_cast<const char*>(factors.data()), 256);
  const WeightStore store(write("m.gguf", text));
  EXPECT_EQ(store.tensors().size(), 1u);
  const auto scaling = nlohmann::json::parse(store.config_json().value())["rope_scaling"];
  EXPECT_EQ(scaling["rope_type"], "llama3");
  EXPECT_EQ(scaling["factor"], 8);
  EXPECT_EQ(scaling["original_max_position_embeddings"], 8192);

  factors[40] -= 0.01f;
  text = header;
  text.append(reinterpret_cast<const char*>(factors.data()), 256);
  write("m.gguf", text);
  EXPECT_THAT(message_of<ModelError>([&] { WeightStore other(path("m.gguf")); }), HasSubstr("at 40"));
}

TEST_F(GgufStore, TheIdsThatEndAnAnswerAreInTheConfiguration) {
  const auto config_of = [&](const GgufText& keys) {
    GgufText text = keys;
    write("m.gguf", text.tensor("token_embd.weight", {256, 8}, kF32, 0).file(8192));
    return nlohmann::json::parse(WeightStore(path("m.gguf")).config_json().value());
  };
  const auto config = config_of(llama()
                                    .number("tokenizer.ggml.bos_token_id", GgufType::kUint32, uint32_t{1})
                                    .number("tokenizer.ggml.eos_token_id", GgufType::kUint32, uint32_t{5})
                                    .number("tokenizer.ggml.eot_token_id", GgufType::kUint32, uint32_t{3})
                                    .number("tokenizer.ggml.eom_token_id", GgufType::kUint32, uint32_t{5})
                                    .number("tokenizer.ggml.padding_token_id", GgufType::kUint32, uint32_t{8}));
  EXPECT_EQ(config["bos_token_id"], 1);
  EXPECT_EQ(config["eos_token_id"], nlohmann::json({5, 3}));
  EXPECT_FALSE(config.contains("pad_token_id"));  // beyond the vocabulary
  EXPECT_EQ(config_of(llama().number("tokenizer.ggml.eos_token_id", GgufType::kUint32, uint32_t{5}))["eos_token_id"],
            5);
  EXPECT_FALSE(config_of(llama()).contains("eos_token_id"));
}

TEST_F(GgufStore, RefusesWhatItWouldMisread) {
  write("odd.gguf",
        llama().tensor("token_embd.weight", {32, 1}, kF32, 0).tensor("blk.0.ssm_a", {1}, kF32, 128).file(160));
  EXPECT_THAT(message_of<ModelError>([&] { WeightStore store(path("odd.gguf")); }), HasSubstr("\"blk.0.ssm_a\"]"));
  write("part.gguf", GgufText().number("split.count", GgufType::kUint16, uint16_t{3}).file(0));
  EXPECT_THAT(message_of<ModelError>([&] { WeightStore store(path("part.gguf")); }), HasSubstr("one of 3 parts"));
}

TEST_F(GgufStore, AFolderMayHoldOneAndOtherModelsKeepTheirNames) {
  write("f/flux.gguf", GgufText().string("general.architecture", "flux").tensor("img_in.bias", {8}, kF32, 0).file(32));
  const WeightStore store(path("f"));
  EXPECT_NE(store.find("img_in.bias"), nullptr);
  EXPECT_EQ(store.config_json(), std::nullopt);
  EXPECT_EQ(store.metadata().at("general.architecture"), "flux");
  write("f/other.gguf", "");
  EXPECT_THAT(message_of<ModelError>([&] { WeightStore other(path("f")); }), HasSubstr("expected one GGUF file"));
}

TEST(Gguf, InspectCountsAndReadsBlocks) {
  ASSERT_EQ(detect_file_kind(kGolden / "every_type.gguf"), FileKind::kWeights);
  const Report report = inspect_weights(kGolden / "every_type.gguf", {.names = "q4_k", .stats = true});
  ASSERT_EQ(report["tensors"].size(), 1u);
  const Report& tensor = report["tensors"][0];
  EXPECT_EQ(tensor["dtype"], "Q4_K");
  EXPECT_EQ(tensor["bytes"], 3 * 2 * 144);
  EXPECT_EQ(report["parameter_count"], 3 * 512);
  const SafetensorsFile expected(kGolden / "every_type.safetensors");
  const TensorView& values = tensor_of(expected.tensors(), "q4_k");
  EXPECT_EQ(tensor["stats"], (Report{{"min", tensor["stats"]["min"]},
                                     {"max", tensor["stats"]["max"]},
                                     {"mean", tensor_stats(DType::kF32, values.bytes, nullptr).mean},
                                     {"std", tensor_stats(DType::kF32, values.bytes, nullptr).std()},
                                     {"nan", 0},
                                     {"infinite", 0}}));
  EXPECT_THAT(report_text(report), HasSubstr("Q4_K"));
}

}  // namespace
}  // namespace millrace
