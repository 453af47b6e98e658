#include "train/result_record.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "base/files.h"
#include "checkpoint/test_support.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

class ResultRecord : public ::testing::Test {
 protected:
  void SetUp() override {
    create_folders(run_ / "adapter");
    write_file_atomically(run_ / "lora.safetensors", "weights");
    write_file_atomically(run_ / "adapter" / "config.json", "{}");
    note_result(run_, kStepResult, 4, {run_ / "lora.safetensors", run_ / "adapter"});
  }
  bool has(int64_t step) const { return has_result(run_, kStepResult, step); }

  testing::TemporaryFolder folder_;
  fs::path run_ = folder_.path();
};

TEST_F(ResultRecord, IsOfItsStepAndOfEarlierOnes) {
  EXPECT_TRUE(has(4));
  EXPECT_TRUE(has(3));
  EXPECT_FALSE(has(5));
  EXPECT_FALSE(has_result(run_, kBestResult, 4));
  note_result(run_, kBestResult, 2, {});
  EXPECT_TRUE(has_result(run_, kBestResult, 2));
  EXPECT_TRUE(has(4));
}

TEST_F(ResultRecord, MissesFilesOfFoldersToo) {
  fs::remove(run_ / "adapter" / "config.json");
  EXPECT_FALSE(has(4));
}

TEST_F(ResultRecord, MissesTheRestOfWeightsButMindsNoEditedText) {
  write_file_atomically(run_ / "adapter" / "config.json", "{\"edited\": true}");
  EXPECT_TRUE(has(4));
  write_file_atomically(run_ / "lora.safetensors", "wei");
  EXPECT_FALSE(has(4));
}

TEST_F(ResultRecord, ForgetsLaterStepsAlone) {
  note_result(run_, kBestResult, 2, {});
  forget_results_after(run_, 2);
  EXPECT_FALSE(has(1));
  EXPECT_TRUE(has_result(run_, kBestResult, 2));
}

TEST_F(ResultRecord, ThatCannotBeReadIsNone) {
  for (const char* text : {"", "[]", "{\"step\": 4}", "{\"step\": {\"step\": \"4\", \"files\": {}}}"}) {
    write_file_atomically(run_ / "results.json", text);
    EXPECT_FALSE(has(4)) << text;
    forget_results_after(run_, 1);
  }
}

}  // namespace
}  // namespace millrace
