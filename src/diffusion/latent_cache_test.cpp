// Latents that are kept in memory and in files.
#include "diffusion/latent_cache.h"

#include <gmock/gmock.h>
#include <torch/types.h>

#include "base/error.h"
#include "base/files.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

CachedLatents latents_of(float value) {
  return {{torch::full({1, 2, 3, 4}, value), torch::full({1, 2, 3, 4}, -value)}, torch::full({1, 1, 3, 4}, 0.5)};
}

bool are_same(const std::optional<CachedLatents>& found, const CachedLatents& expected) {
  return found && found->moments.mean_BZhw.equal(expected.moments.mean_BZhw) &&
         found->moments.logvar_BZhw.equal(expected.moments.logvar_BZhw) && found->mask_11hw.equal(expected.mask_11hw);
}

class LatentCacheTest : public testing::Test {
 protected:
  LatentCacheTest()
      : folder_(fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
  }
  ~LatentCacheTest() override { set_write_hook_for_testing({}); }
  size_t num_files() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()));
  }
  fs::path folder_;
};

TEST_F(LatentCacheTest, MemoryHoldsWhatFits) {
  const uint64_t one = (2 * 24 + 12) * sizeof(float);
  LatentCache cache({.max_bytes = 2 * one, .folder = {}, .identity = "autoencoder"});
  for (const char* key : {"a", "b", "c"}) {
    EXPECT_FALSE(cache.holds(key));
    cache.keep(key, latents_of(static_cast<float>(*key)));
  }
  EXPECT_TRUE(are_same(cache.find("a"), latents_of('a')));
  EXPECT_TRUE(are_same(cache.find("b"), latents_of('b')));
  EXPECT_FALSE(cache.find("c").has_value());
}

TEST_F(LatentCacheTest, FilesServeOtherRuns) {
  LatentCache({.folder = folder_, .identity = "autoencoder"}).keep("a", latents_of(1));
  LatentCache later({.max_bytes = 0, .folder = folder_, .identity = "autoencoder"});
  EXPECT_TRUE(later.holds("a"));
  EXPECT_TRUE(are_same(later.find("a"), latents_of(1)));
  EXPECT_FALSE(later.find("b").has_value());
  EXPECT_FALSE(LatentCache({.folder = folder_, .identity = "another"}).find("a").has_value());
}

TEST_F(LatentCacheTest, ADamagedFileIsMadeAnew) {
  LatentCache({.folder = folder_, .identity = "autoencoder"}).keep("a", latents_of(1));
  write_file_atomically(fs::directory_iterator(folder_)->path(), "damaged");
  LatentCache later({.folder = folder_, .identity = "autoencoder"});
  EXPECT_FALSE(later.find("a").has_value());
  later.keep("a", latents_of(1));
  EXPECT_TRUE(are_same(LatentCache({.folder = folder_, .identity = "autoencoder"}).find("a"), latents_of(1)));
}

TEST_F(LatentCacheTest, AFullDiskIsAnErrorAndLeavesNoFile) {
  LatentCache cache({.folder = folder_, .identity = "autoencoder"});
  cache.keep("a", latents_of(1));
  for (const int pieces : {0, 1, 2}) {
    int written = 0;
    set_write_hook_for_testing([&](const fs::path& path, size_t) {
      if (written++ >= pieces) throw StorageError("[" + path.string() + "] expected room on the disk, got none");
    });
    EXPECT_THROW(cache.keep("b", latents_of(2)), StorageError) << pieces;
    EXPECT_EQ(num_files(), 1) << pieces;
  }
}

}  // namespace
}  // namespace millrace
