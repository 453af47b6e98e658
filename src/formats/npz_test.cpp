#include "formats/npz.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

fs::path golden(const char* name) {
  return fs::path(MILLRACE_GOLDEN) / "flux_lora/caches" / name;
}

std::vector<std::string> names_of(const NpzFile& file) {
  std::vector<std::string> names;
  for (const auto& [name, array] : file.arrays()) names.push_back(name);
  return names;
}

class NpzTest : public testing::Test {
 protected:
  void TearDown() override { fs::remove(path_); }
  std::string problem(const std::string& content) {
    FileWriter(path_).write(content);
    try {
      NpzFile file(path_);
    } catch (const DataError& error) {
      return error.what();
    }
    return "";
  }
  fs::path path_ =
      fs::path(testing::TempDir()) / str("npz_", testing::UnitTest::GetInstance()->current_test_info()->name(), ".npz");
};

TEST_F(NpzTest, ReadsWhatNumpyWrote) {
  const NpzFile text(golden("0_flux_te.npz"));
  EXPECT_THAT(names_of(text), ElementsAre("apply_t5_attn_mask", "l_pooled", "t5_attn_mask", "t5_out", "txt_ids"));
  EXPECT_EQ(text.find("apply_t5_attn_mask")->dtype, DType::kBool);
  EXPECT_THAT(text.find("apply_t5_attn_mask")->shape, ElementsAre());
  EXPECT_EQ(text.find("t5_attn_mask")->dtype, DType::kI64);
  EXPECT_THAT(text.find("t5_out")->shape, ElementsAre(16, 32));
  EXPECT_EQ(text.find("absent"), nullptr);

  const NpzFile latents(golden("0_0160x0128_flux.npz"));
  EXPECT_THAT(names_of(latents), ElementsAre("crop_ltrb_24x24", "latents_24x24", "original_size_24x24"));
  EXPECT_THAT(latents.find("latents_24x24")->shape, ElementsAre(16, 24, 24));
  int64_t size[2];
  std::memcpy(size, latents.find("original_size_24x24")->bytes.data(), sizeof size);
  EXPECT_THAT(size, ElementsAre(160, 128));
}

TEST_F(NpzTest, WritesTheBytesThatNumpyWrites) {
  const std::vector<std::pair<const char*, std::vector<std::string>>> files = {
      {"0_flux_te.npz", {"l_pooled", "t5_out", "txt_ids", "t5_attn_mask", "apply_t5_attn_mask"}},
      {"0_0160x0128_flux.npz", {"latents_24x24", "original_size_24x24", "crop_ltrb_24x24"}}};
  for (const auto& [name, order] : files) {
    const NpzFile read(golden(name));
    std::vector<NpzArray> arrays;
    for (const std::string& array : order) {
      const NpyArray& found = *read.find(array);
      arrays.push_back({array, found.dtype, found.shape, found.bytes});
    }
    write_npz(path_, arrays);
    EXPECT_TRUE(read_file(path_) == read_file(golden(name))) << name;
  }
}

TEST_F(NpzTest, AFileWithoutArraysIsEmpty) {
  write_npz(path_, {});
  EXPECT_TRUE(NpzFile(path_).arrays().empty());
}

TEST_F(NpzTest, DamageIsNamed) {
  const std::string whole = read_file(golden("0_flux_te.npz"));
  EXPECT_THAT(problem(""), HasSubstr("expected the directory of a .npz file"));
  EXPECT_THAT(problem(whole.substr(0, whole.size() - 10)), HasSubstr("expected the directory"));
  std::string changed = whole;
  changed[400] = static_cast<char>(changed[400] ^ 1);
  EXPECT_THAT(problem(changed), HasSubstr("expected intact data, got a wrong checksum"));
  std::string compressed = whole;
  compressed[whole.find("PK\x01\x02") + 10] = 8;
  EXPECT_THAT(problem(compressed), HasSubstr("(try numpy.savez"));
  // Cut anywhere, it is an error and nothing else.
  for (size_t size = 0; size < whole.size(); size += 37) EXPECT_NE(problem(whole.substr(0, size)), "") << size;
}

}  // namespace
}  // namespace millrace
