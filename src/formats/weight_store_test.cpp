#include "formats/weight_store.h"

#include "base/error.h"
#include "formats/pickle.h"
#include "formats/test_support.h"

namespace millrace {
namespace {

using testing::HasSubstr;

class WeightStoreTest : public FolderTest {
 protected:
  // A file of one-element tensors.
  void write_weights(std::string_view name, const std::vector<std::string>& tensors, const std::string& format = "pt") {
    std::filesystem::create_directories(path(name).parent_path());
    std::vector<TensorView> views;
    for (const std::string& tensor : tensors) views.push_back({tensor, DType::kF32, {1}, bytes_of(value_)});
    write_safetensors(path(name), views, {{"format", format}});
  }
  std::string failure(std::string_view name) const {
    return message_of<ModelError>([&] { WeightStore store(path(name)); });
  }

  std::vector<float> value_ = {1.5f};
};

TEST_F(WeightStoreTest, OpensAFile) {
  write_weights("m.safetensors", {"a", "b"});
  const WeightStore store(path("m.safetensors"));
  EXPECT_EQ(store.tensors().size(), 2u);
  EXPECT_NE(store.find("a"), nullptr);
  EXPECT_EQ(store.find("c"), nullptr);
  EXPECT_EQ(store.folder(), folder_);
  EXPECT_EQ(store.metadata().at("format"), "pt");
}

TEST_F(WeightStoreTest, BytesStayValidAsLongAsTheyAreKeptAlive) {
  write_weights("m.safetensors", {"a"});
  std::shared_ptr<const void> keep_alive;
  TensorView view;
  {
    const WeightStore store(path("m.safetensors"));
    keep_alive = store.keep_alive();
    view = *store.find("a");
  }
  float value;
  std::memcpy(&value, view.bytes.data(), sizeof value);
  EXPECT_EQ(value, 1.5f);
}

TEST_F(WeightStoreTest, OpensShardsThroughTheirIndexAndThroughTheFolder) {
  write_weights("m/model-00001-of-00002.safetensors", {"a"});
  write_weights("m/model-00002-of-00002.safetensors", {"b", "c"});
  write("m/model.safetensors.index.json",
        R"({"metadata":{"total_size":12},"weight_map":{"a":"model-00001-of-00002.safetensors",)"
        R"("b":"model-00002-of-00002.safetensors"}})");
  for (const char* name : {"m", "m/model.safetensors.index.json"}) {
    const WeightStore store(path(name));
    EXPECT_EQ(store.tensors().size(), 2u) << "what the index does not name is not taken";
    EXPECT_NE(store.find("b"), nullptr);
    EXPECT_EQ(store.files().size(), 2u);
  }
}

TEST_F(WeightStoreTest, NamesAMissingShard) {
  write("model.safetensors.index.json", R"({"weight_map":{"a":"model-00001-of-00002.safetensors"}})");
  EXPECT_THAT(failure("model.safetensors.index.json"),
              HasSubstr("expected the shard \"model-00001-of-00002.safetensors\" beside it"));
  write_weights("n/model-00001-of-00002.safetensors", {"a"});
  EXPECT_THAT(failure("n"), HasSubstr("expected 2 shards"));
}

TEST_F(WeightStoreTest, RefusesAnIndexThatPromisesWhatAShardLacks) {
  write_weights("x.safetensors", {"a"});
  write("model.safetensors.index.json", R"({"weight_map":{"a":"x.safetensors","b":"x.safetensors"}})");
  EXPECT_THAT(failure("model.safetensors.index.json"), HasSubstr("x.safetensors] expected the tensor \"b\""));
}

TEST_F(WeightStoreTest, RefusesIndicesThatPointOutOfTheirFolder) {
  for (const char* file : {"../x.safetensors", "/etc/x.safetensors", "a/x.safetensors", "..\\\\x.safetensors", "x.json",
                           "..", "", ".x.safetensors", "x.bin"}) {
    write("i.safetensors.index.json", std::string(R"({"weight_map":{"a":")") + file + R"("}})");
    EXPECT_THAT(failure("i.safetensors.index.json"), HasSubstr("weight_map of \"a\"] expected")) << file;
  }
}

TEST_F(WeightStoreTest, RefusesMalformedIndices) {
  for (const char* text : {"", "[]", "{}", R"({"weight_map":[]})", R"({"weight_map":{"a":1}})",
                           R"({"weight_map":{"a":"x.safetensors","a":"y.safetensors"}})", "{\"weight_map\":{}} x"}) {
    write("i.json", text);
    EXPECT_THAT(failure("i.json"), HasSubstr("i.json")) << text;
  }
  write("i.json", std::string(100000, '['));
  EXPECT_THAT(failure("i.json"), HasSubstr("levels deep"));
}

TEST_F(WeightStoreTest, PrefersWholeModelsInAFolder) {
  write_weights("m/model.safetensors", {"whole"});
  write_weights("m/model.fp16.safetensors", {"half"});
  write_weights("m/other.safetensors", {"other"});
  EXPECT_NE(WeightStore(path("m")).find("whole"), nullptr);
  EXPECT_EQ(WeightStore(path("m")).tensors().size(), 1u);
  write_weights("m/diffusion_pytorch_model.safetensors", {"d"});
  EXPECT_THAT(failure("m"), HasSubstr("expected one model, got both"));
}

TEST_F(WeightStoreTest, TakesAllFilesOfAFolderWithoutAnIndex) {
  write_weights("m/flux1.safetensors", {"a"});
  write_weights("m/ae.safetensors", {"b"});
  EXPECT_EQ(WeightStore(path("m")).tensors().size(), 2u);
  write_weights("m/again.safetensors", {"a"});
  EXPECT_THAT(failure("m"), HasSubstr("got \"a\", which is in"));
}

TEST_F(WeightStoreTest, SaysWhatIsMissing) {
  EXPECT_THAT(failure("nothing"), HasSubstr("got nothing of that name"));
  std::filesystem::create_directories(path("empty"));
  EXPECT_THAT(failure("empty"), HasSubstr("got a folder without any"));
}

TEST_F(WeightStoreTest, RefusesPicklesByNameAndByContent) {
  const std::string zip("PK\x03\x04 and so on"), pickle("\x80\x02}q\x00.", 6), legacy("\x80\x02\x8A\x0Al\xFC", 6);
  for (const char* name : {"w.pt", "w.pth", "w.ckpt", "w.bin", "w.PT"}) {
    write(name, "anything");
    EXPECT_THAT(failure(name), HasSubstr("got a pickle by its name")) << name;
  }
  for (const std::string& content : {zip, pickle, legacy}) {
    write("w.safetensors", content);
    EXPECT_THAT(failure("w.safetensors"), HasSubstr("got a pickle by its first bytes"));
    EXPECT_THAT(failure("w.safetensors"), HasSubstr("weights_only=True"));
  }
  for (const char* name : {"meta/consolidated.00.pth", "meta/consolidated.01.pth"}) write(name, zip);
  EXPECT_THAT(failure("meta"), HasSubstr("convert_llama_weights_to_hf --input_dir '" + path("meta").string() +
                                         "' --output_dir converted --llama_version 3.1 --num_shards 2)"));
  write("whole/original/consolidated.00.pth", zip);
  EXPECT_THAT(failure("whole"),
              HasSubstr("convert_llama_weights_to_hf --input_dir '" + path("whole/original").string()));
  write("p/pytorch_model.bin", zip);
  EXPECT_THAT(failure("p"), HasSubstr("got a pickle"));
}

TEST(Pickle, DoesNotMistakeSafetensorsForOne) {
  // 0x80 as the lowest byte of a header's length.
  for (const size_t size : {0x80u, 0x280u, 0x580u, 0x10280u, 0x20380u}) {
    std::string header = "{}";
    header.resize(size, ' ');
    const std::string text = safetensors_text(header, 0);
    EXPECT_FALSE(has_pickle_content(text)) << size;
  }
  EXPECT_FALSE(has_pickle_content(std::string_view("\x80\x02\x00\x00\x00\x00\x00\x00", 8)));
}

TEST_F(WeightStoreTest, NarrowsToOneModelOfSeveral) {
  write_weights("all.safetensors", {"vae.a", "model.x.a", "model.x.b", "text.a"});
  WeightStore store(path("all.safetensors"));
  store.narrow_to("model.x.");
  ASSERT_EQ(store.tensors().size(), 2u);
  EXPECT_NE(store.find("a"), nullptr);
  EXPECT_NE(store.find("b"), nullptr);
  EXPECT_EQ(store.find("vae.a"), nullptr);
  EXPECT_EQ(store.find("model.x.a"), nullptr);

  WeightStore other(path("all.safetensors"));
  other.narrow_to("model.y.");
  EXPECT_EQ(other.tensors().size(), 4u) << "nothing has that prefix";
}

TEST_F(WeightStoreTest, ATensorWithAndWithoutThePrefixIsRefused) {
  write_weights("m.safetensors", {"a", "b", "model.x.b"});
  WeightStore store(path("m.safetensors"));
  EXPECT_THAT(message_of<ModelError>([&] { store.narrow_to("model.x."); }), HasSubstr("\"b\" with and without"));
}

}  // namespace
}  // namespace millrace
