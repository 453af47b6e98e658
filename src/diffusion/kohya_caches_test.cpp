#include "diffusion/kohya_caches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/types.h>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "formats/npz.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;

fs::path golden(const char* name) {
  return fs::path(MILLRACE_GOLDEN) / "flux_lora/caches" / name;
}

class KohyaCachesTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::path(testing::TempDir()) /
              str("kohya_caches_", testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }
  static KohyaLatents latents_of(const torch::Tensor& latents_Zhw, bool mirrored, const PictureSize& bucket) {
    return {.latents_Zhw = latents_Zhw,
            .mirrored = mirrored,
            .original = {160, 128},
            .bucket = bucket,
            .mask_HW = {},
            .key = {}};
  }
  fs::path folder_;
};

TEST_F(KohyaCachesTest, FilesAreNamedAfterThePictureAndItsSize) {
  EXPECT_EQ(kohya_latents_file("a/0.png", {160, 128}), "a/0_0160x0128_flux.npz");
  EXPECT_EQ(kohya_latents_file("cat.v2.jpg", {12000, 8}), "cat.v2_12000x0008_flux.npz");
  EXPECT_EQ(kohya_text_file("a/0.png"), "a/0_flux_te.npz");
}

TEST_F(KohyaCachesTest, LatentsAreWrittenAsSdScriptsWritesThem) {
  const fs::path reference = golden("0_0160x0128_flux.npz");
  const std::optional<StoredLatents> stored = read_kohya_latents(reference, 24, 24, /*mirrored=*/false);
  ASSERT_TRUE(stored.has_value());
  EXPECT_EQ(stored->latents_Zhw.sizes(), (std::vector<int64_t>{16, 24, 24}));
  EXPECT_FALSE(stored->key.has_value() || stored->mask_HW.defined());
  EXPECT_FALSE(read_kohya_latents(reference, 24, 24, /*mirrored=*/true).has_value());
  EXPECT_FALSE(read_kohya_latents(reference, 16, 32, /*mirrored=*/false).has_value());
  const fs::path file = folder_ / "0_0160x0128_flux.npz";
  write_kohya_latents(file, latents_of(stored->latents_Zhw, false, {192, 192}));
  EXPECT_TRUE(read_file(file) == read_file(reference));
}

TEST_F(KohyaCachesTest, AFileHoldsSeveralSizesAndBothSides) {
  const fs::path file = folder_ / "0_0160x0128_flux.npz";
  const torch::Tensor square = torch::randn({16, 24, 24}), wide = torch::randn({16, 16, 32}), flipped = square.flip(2);
  write_kohya_latents(file, latents_of(square, false, {192, 192}));
  write_kohya_latents(file, latents_of(flipped, true, {192, 192}));
  write_kohya_latents(file, latents_of(wide, false, {256, 128}));
  EXPECT_TRUE(read_kohya_latents(file, 24, 24, false)->latents_Zhw.equal(square));
  EXPECT_TRUE(read_kohya_latents(file, 24, 24, true)->latents_Zhw.equal(flipped));
  EXPECT_TRUE(read_kohya_latents(file, 16, 32, false)->latents_Zhw.equal(wide));
  EXPECT_EQ(NpzFile(file).arrays().size(), 7u);

  write_kohya_latents(file, latents_of(square, false, {192, 192}), /*keeps_others=*/false);
  EXPECT_EQ(NpzFile(file).arrays().size(), 3u);
  write_file_atomically(file, "damaged");
  write_kohya_latents(file, latents_of(wide, false, {256, 128}));
  EXPECT_TRUE(read_kohya_latents(file, 16, 32, false)->latents_Zhw.equal(wide));
}

TEST_F(KohyaCachesTest, AFileSaysWhatItWasMadeOf) {
  const fs::path file = folder_ / "0_0160x0128_flux.npz";
  KohyaLatents latents = latents_of(torch::randn({16, 24, 24}), false, {192, 192});
  latents.key = 0xFEDCBA9876543210;
  latents.mask_HW = torch::rand({192, 192});
  write_kohya_latents(file, latents);
  KohyaLatents mirrored = latents;
  mirrored.mirrored = true;
  mirrored.key = 3;
  write_kohya_latents(file, mirrored);
  EXPECT_EQ(read_kohya_latents(file, 24, 24, false)->key, latents.key);
  EXPECT_EQ(read_kohya_latents(file, 24, 24, true)->key, mirrored.key);
  EXPECT_TRUE(read_kohya_latents(file, 24, 24, false)->mask_HW.equal(latents.mask_HW));
  EXPECT_TRUE(read_kohya_latents(file, 24, 24, true)->mask_HW.equal(latents.mask_HW.flip(1)));

  KohyaText text{.pooled_V = torch::rand({4}), .tokens_TX = torch::rand({3, 5}), .num_tokens = 2, .key = 7};
  write_kohya_text(folder_ / "0_flux_te.npz", text);
  EXPECT_EQ(read_kohya_text(folder_ / "0_flux_te.npz")->key, text.key);
}

TEST_F(KohyaCachesTest, TextIsWrittenAsSdScriptsWritesIt) {
  const std::optional<KohyaText> text = read_kohya_text(golden("0_flux_te.npz"));
  ASSERT_TRUE(text.has_value());
  EXPECT_EQ(text->tokens_TX.sizes(), (std::vector<int64_t>{16, 32}));
  EXPECT_EQ(text->pooled_V.size(0), 32);
  EXPECT_GT(text->num_tokens, 1);
  EXPECT_LT(text->num_tokens, 16);
  const fs::path file = folder_ / "0_flux_te.npz";
  write_kohya_text(file, *text);
  EXPECT_TRUE(read_file(file) == read_file(golden("0_flux_te.npz")));

  KohyaText masked = *text;
  masked.is_masked = true;
  write_kohya_text(file, masked);
  EXPECT_TRUE(read_kohya_text(file)->is_masked);
}

TEST_F(KohyaCachesTest, TextWithAnArrayMissingIsNone) {
  const torch::Tensor pooled = torch::zeros({4});
  const auto* bytes = static_cast<const std::byte*>(pooled.const_data_ptr());
  write_npz(folder_ / "0_flux_te.npz", {{"l_pooled", DType::kF32, {4}, {bytes, 16}}});
  EXPECT_FALSE(read_kohya_text(folder_ / "0_flux_te.npz").has_value());
}

TEST_F(KohyaCachesTest, AnEditedPictureHasNoCache) {
  const fs::path picture = folder_ / "0.png", cache = folder_ / "0_flux_te.npz";
  FileWriter(picture).write("picture");
  EXPECT_FALSE(is_current(cache, picture)) << "it is not there";
  FileWriter(cache).write("cache");
  const auto now = fs::last_write_time(picture);
  fs::last_write_time(cache, now + std::chrono::seconds(1));
  EXPECT_TRUE(is_current(cache, picture));
  fs::last_write_time(picture, now + std::chrono::seconds(2));
  EXPECT_FALSE(is_current(cache, picture));
}

}  // namespace
}  // namespace millrace
