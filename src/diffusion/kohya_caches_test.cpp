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
  fs::path folder_;
};

TEST_F(KohyaCachesTest, FilesAreNamedAfterThePictureAndItsSize) {
  EXPECT_EQ(kohya_latents_file("a/0.png", {160, 128}), "a/0_0160x0128_flux.npz");
  EXPECT_EQ(kohya_latents_file("cat.v2.jpg", {12000, 8}), "cat.v2_12000x0008_flux.npz");
  EXPECT_EQ(kohya_text_file("a/0.png"), "a/0_flux_te.npz");
}

TEST_F(KohyaCachesTest, LatentsAreWrittenAsSdScriptsWritesThem) {
  const fs::path reference = golden("0_0160x0128_flux.npz");
  const torch::Tensor latents = read_kohya_latents(reference, 24, 24, /*mirrored=*/false);
  EXPECT_EQ(latents.sizes(), (std::vector<int64_t>{16, 24, 24}));
  EXPECT_FALSE(read_kohya_latents(reference, 24, 24, /*mirrored=*/true).defined());
  EXPECT_FALSE(read_kohya_latents(reference, 16, 32, /*mirrored=*/false).defined());
  const fs::path file = folder_ / "0_0160x0128_flux.npz";
  write_kohya_latents(file, {latents, false, {160, 128}, {192, 192}});
  EXPECT_TRUE(read_file(file) == read_file(reference));
}

TEST_F(KohyaCachesTest, AFileHoldsSeveralSizesAndBothSides) {
  const fs::path file = folder_ / "0_0160x0128_flux.npz";
  const torch::Tensor square = torch::randn({16, 24, 24}), wide = torch::randn({16, 16, 32}), flipped = square.flip(2);
  write_kohya_latents(file, {square, false, {160, 128}, {192, 192}});
  write_kohya_latents(file, {flipped, true, {160, 128}, {192, 192}});
  write_kohya_latents(file, {wide, false, {160, 128}, {256, 128}});
  EXPECT_TRUE(read_kohya_latents(file, 24, 24, false).equal(square));
  EXPECT_TRUE(read_kohya_latents(file, 24, 24, true).equal(flipped));
  EXPECT_TRUE(read_kohya_latents(file, 16, 32, false).equal(wide));
  EXPECT_EQ(NpzFile(file).arrays().size(), 7u);
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
