#include "compat/kohya_data.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/files.h"
#include "compat/golden_test_support.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

class KohyaDataTest : public testing::Test {
 protected:
  KohyaDataTest() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = fs::path(testing::TempDir()) / ("kohya_data_" + std::string(test->name()));
    fs::remove_all(folder_);
    create_folders(folder_ / "imgs");
    write_file_atomically(folder_ / "set.toml",
                          "[general]\nflip_aug = false\n[[datasets]]\nresolution = 64\nbatch_size = 4\n"
                          "[[datasets.subsets]]\nimage_dir = 'imgs'\n");
  }
  KohyaArguments arguments(std::vector<std::string> words) const {
    words.push_back("--output_dir=" + (folder_ / "out").string());
    return parse_kohya_arguments(words);
  }
  std::string set() const { return "--dataset_config=" + (folder_ / "set.toml").string(); }
  nlohmann::json written(const KohyaData& data) const {
    data.write();
    return nlohmann::json::parse(read_file(data.path()));
  }
  fs::path folder_;
};

TEST_F(KohyaDataTest, IsTheFileItselfWhereNothingComesToIt) {
  const KohyaData data(arguments({set()}), 1);
  EXPECT_EQ(data.path(), folder_ / "set.toml");
  EXPECT_EQ(data.batch_size(), 4);
  data.write();
  EXPECT_FALSE(fs::exists(folder_ / "out"));
}

TEST_F(KohyaDataTest, GivesWayToTheFileAndFindsItsFolders) {
  const KohyaData data(arguments({set(), "--flip_aug", "--caption_extension=.txt", "--prior_loss_weight=1"}), 1);
  EXPECT_EQ(data.path(), folder_ / "out" / "dataset.json");
  const nlohmann::json json = written(data);
  EXPECT_EQ(json["general"]["flip_aug"], false);  // the file beats the command line
  EXPECT_EQ(json["general"]["caption_extension"], ".txt");
  EXPECT_FALSE(json["general"].contains("prior_loss_weight"));
  EXPECT_EQ(json["datasets"][0]["subsets"][0]["image_dir"], (folder_ / "imgs").string());
  // What was written reads back.
  EXPECT_EQ(KohyaData(arguments({"--dataset_config=" + data.path()}), 1).batch_size(), 4);
}

TEST_F(KohyaDataTest, HasABatchOfTheFilesSizeForEveryRank) {
  const KohyaData data(arguments({set()}), 3);
  EXPECT_EQ(data.batch_size(), 4);
  EXPECT_EQ(written(data)["datasets"][0]["batch_size"], 12);
}

// Runs here refuse what sd-scripts takes and does not read.
TEST_F(KohyaDataTest, LeavesOutWhatSdScriptsDoesNotRead) {
  write_file_atomically(
      folder_ / "set.toml",
      "[general]\nface_crop_aug_range = [1.0, 2.0]\ncustom_attributes = { mood = 1 }\n"
      "[[datasets]]\nresolution = 64\nenable_bucket = true\nmin_bucket_reso = 64\nnetwork_multiplier = 0.5\n"
      "[[datasets.subsets]]\nimage_dir = 'imgs'\nface_crop_aug_range = [1.0, 3.0]\n"
      "custom_attributes = { diff_output_preservation = true, mood = 2 }\n"
      "[[datasets]]\nresolution = 64\n[[datasets.subsets]]\nimage_dir = 'imgs'\n");
  testing::internal::CaptureStderr();
  const KohyaData data(arguments({set()}), 1);
  const std::string said = testing::internal::GetCapturedStderr();
  for (const char* name : {"network_multiplier", "face_crop_aug_range", "custom_attributes.mood"}) {
    EXPECT_THAT(said, testing::HasSubstr(std::string(name) + " has no effect on FLUX")) << said;
  }
  const nlohmann::json json = written(data);
  EXPECT_EQ(json["general"], nlohmann::json({{"custom_attributes", nlohmann::json::object()}}));
  const nlohmann::json &with_buckets = json["datasets"][0], &without = json["datasets"][1];
  EXPECT_FALSE(with_buckets.contains("network_multiplier"));
  EXPECT_FALSE(with_buckets["subsets"][0].contains("face_crop_aug_range"));
  EXPECT_EQ(with_buckets["subsets"][0]["custom_attributes"], nlohmann::json({{"diff_output_preservation", true}}));
  EXPECT_EQ(without["face_crop_aug_range"], nlohmann::json({1.0, 2.0}));
}

TEST_F(KohyaDataTest, TakesFoldersWhoseNamesSayTheirRepeats) {
  create_folders(folder_ / "train" / "3_a cat");
  const KohyaData data(arguments({"--train_data_dir=" + (folder_ / "train").string(), "--resolution=64"}), 1);
  const nlohmann::json subset = written(data)["datasets"][0]["subsets"][0];
  EXPECT_EQ(subset["num_repeats"], 3);
  EXPECT_EQ(subset["class_tokens"], "a cat");
  EXPECT_THROW(data.batches_per_epoch(), DataError);  // there are no pictures in it
}

}  // namespace
}  // namespace millrace
