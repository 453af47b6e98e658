// What is held back from training: by keys alone, the same in every data set, and never all or nothing.
#include "picture_sets/held_back.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "base/error.h"
#include "base/files.h"
#include "images/encode.h"
#include "picture_sets/open_picture_sets.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::ThrowsMessage;

std::set<std::string> numbered(int count) {
  std::set<std::string> keys;
  for (int i = 0; i < count; ++i) keys.insert("cat/" + std::to_string(i) + ".png");
  return keys;
}

TEST(HeldBack, IsAPartOfTheKeysRounded) {
  EXPECT_EQ(choose_held_back(numbered(40), 0.1, "set").keys.size(), 4);
  EXPECT_EQ(choose_held_back(numbered(12), 0.2, "set").keys.size(), 2);
  EXPECT_EQ(choose_held_back(numbered(2), 0.5, "set").keys.size(), 1);
}

TEST(HeldBack, GrowsByItsOwnNumberAlone) {
  const std::set<std::string> of_40 = choose_held_back(numbered(40), 0.25, "set").keys,
                              more = choose_held_back(numbered(40), 0.5, "set").keys;
  EXPECT_TRUE(std::includes(more.begin(), more.end(), of_40.begin(), of_40.end()));
  const std::set<std::string> of_41 = choose_held_back(numbered(41), 0.25, "set").keys;
  std::vector<std::string> moved;
  std::set_symmetric_difference(of_40.begin(), of_40.end(), of_41.begin(), of_41.end(), std::back_inserter(moved));
  EXPECT_LE(moved.size(), 2);
}

TEST(HeldBack, LeavesSomethingOnBothSides) {
  EXPECT_THAT(
      [] { choose_held_back(numbered(12), 0.01, "set"); },
      ThrowsMessage<ConfigError>(HasSubstr(
          "[validation.split] expected a part of the 12 pictures of set that leaves some to train on and some to "
          "validate on, got 0.01, which is 0 (try 0.1)")));
  EXPECT_THROW(choose_held_back(numbered(3), 0.9, "set"), ConfigError);
  EXPECT_THROW(choose_held_back(numbered(1), 0.5, "set"), ConfigError);
}

class HeldBackOfSets : public testing::Test {
 protected:
  HeldBackOfSets()
      : folder_(fs::path(testing::TempDir()) / testing::UnitTest::GetInstance()->current_test_info()->name()) {
    fs::remove_all(folder_);
    for (int i = 0; i < 10; ++i) write_picture("a/3_cat", i);
    for (int i = 0; i < 10; ++i) write_picture("a/1_dog", i);
    for (int i = 0; i < 4; ++i) write_picture("reg", i);
  }
  ~HeldBackOfSets() override { fs::remove_all(folder_); }

  void write_picture(const std::string& name, int number) {
    Image image;
    image.reshape(32, 32, 3);
    std::fill(image.pixels.begin(), image.pixels.end(), static_cast<uint8_t>(number));
    create_folders(folder_ / name);
    write_file_atomically(folder_ / name / (std::to_string(number) + ".png"), encode_png(image));
  }
  fs::path document(const std::string& general = "") {
    const std::string cat = "[[datasets.subsets]]\nimage_dir = 'a/3_cat'\nnum_repeats = 2\n";
    write_file_atomically(folder_ / "set.toml", "[general]\n" + general + "\n[[datasets]]\nresolution = 32\n" + cat +
                                                    "[[datasets.subsets]]\nimage_dir = 'reg'\nis_reg = true\n" +
                                                    "[[datasets]]\nresolution = 64\n" + cat);
    return folder_ / "set.toml";
  }
  static std::set<std::string> names(const PicturePart& part) {
    std::set<std::string> names;
    for (const Picture& picture : part.pictures) names.insert(held_back_key(picture.file));
    return names;
  }
  fs::path folder_;
};

TEST_F(HeldBackOfSets, AFolderOfFoldersHasOneToo) {
  const std::vector<PictureSet> sets = open_picture_sets(folder_ / "a", {.resolution = 32, .held_back = 0.25});
  const std::set<std::string> held = names(sets[0].validation), trained = names(sets[0].train);
  EXPECT_EQ(held.size(), 5);
  EXPECT_EQ(trained.size(), 15);
  for (const std::string& name : held) EXPECT_FALSE(trained.contains(name));
  EXPECT_EQ(sets[0].validation.num_samples(), 5) << "each once, whatever its repeats";

  fs::rename(folder_ / "a", folder_ / "elsewhere");
  EXPECT_EQ(names(open_picture_sets(folder_ / "elsewhere", {.resolution = 32, .held_back = 0.25})[0].validation), held);
}

TEST_F(HeldBackOfSets, APictureOfSeveralDataSetsIsOnOneSide) {
  const std::vector<PictureSet> sets = open_picture_sets(document(), {.held_back = 0.3});
  ASSERT_EQ(sets.size(), 2);
  EXPECT_EQ(names(sets[0].validation), names(sets[1].validation));
  EXPECT_EQ(sets[0].validation.num_samples(), 3);
  EXPECT_EQ(sets[0].num_train_images, 14);
  EXPECT_EQ(sets[0].num_reg_images, 4) << "regularisation pictures are all trained on";
}

TEST_F(HeldBackOfSets, OneSplitIsEnough) {
  EXPECT_THAT([&] { open_picture_sets(document("validation_split = 0.2"), {.held_back = 0.3}); },
              ThrowsMessage<ConfigError>(HasSubstr(
                  "[validation.split] expected no validation_split in the data set file with it, got 0.2 in [")));
}

TEST_F(HeldBackOfSets, WhatIsOnlyValidatedOnIsHeldBackWhole) {
  const std::vector<PictureSet> all = open_picture_sets(document(), {.is_validation = true});
  EXPECT_EQ(all[0].validation.num_samples(), 10);
  EXPECT_EQ(all[0].train.num_samples(), 0);
  const std::vector<PictureSet> part = open_picture_sets(document("validation_split = 0.2"), {.is_validation = true});
  EXPECT_EQ(part[0].validation.num_samples(), 2) << "the file says which";
  fs::remove_all(folder_ / "a/3_cat");
  create_folders(folder_ / "a/3_cat");
  EXPECT_THAT([&] { open_picture_sets(document(), {.is_validation = true}); },
              ThrowsMessage<DataError>(HasSubstr("expected pictures to validate on, got none")));
}

}  // namespace
}  // namespace millrace
