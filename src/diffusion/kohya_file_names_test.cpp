#include "diffusion/kohya_file_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace millrace {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

// What is in the folder after so many steps, of epochs of so many.
std::set<std::string> left_after(const FluxAdapterOptions& options, int64_t steps, int64_t steps_per_epoch = 0,
                                 bool ends = true) {
  std::set<std::string> folder;
  for (int64_t step = 1; step <= steps; ++step) {
    const int64_t epoch = steps_per_epoch > 0 ? (step - 1) / steps_per_epoch : 0;
    const KohyaFiles files = kohya_files(options, {step, epoch, steps_per_epoch, ends && step == steps});
    for (const KohyaFile& file : files.due) folder.insert(file.name);
    for (const std::string& name : files.outdated) folder.erase(name);
  }
  return folder;
}

TEST(KohyaFileNames, AreThoseOfTheRecordedRun) {
  const FluxAdapterOptions options{.kohya_files = true, .kohya_name = "tiny", .kohya_every_steps = 4};
  EXPECT_THAT(left_after(options, 8), UnorderedElementsAre("tiny-step00000004.safetensors",
                                                           "tiny-step00000008.safetensors", "tiny.safetensors"));
  EXPECT_THAT(left_after({}, 8), IsEmpty());
}

TEST(KohyaFileNames, EpochsCountFromOneAndTheLastHasTheNameAlone) {
  FluxAdapterOptions options{.kohya_files = true, .kohya_name = "cat", .kohya_every_epochs = 1};
  EXPECT_THAT(left_after(options, 9, 3),
              UnorderedElementsAre("cat-000001.safetensors", "cat-000002.safetensors", "cat.safetensors"));
  options.kohya_every_epochs = 2;
  EXPECT_THAT(left_after(options, 13, 3),
              UnorderedElementsAre("cat-000002.safetensors", "cat-000004.safetensors", "cat.safetensors"));
}

TEST(KohyaFileNames, WithoutANameTheyAreCalledAtEpochAndLast) {
  const FluxAdapterOptions options{.kohya_files = true, .kohya_every_steps = 5, .kohya_every_epochs = 1};
  EXPECT_THAT(left_after(options, 6, 3),
              UnorderedElementsAre("at-step00000005.safetensors", "epoch-000001.safetensors", "last.safetensors"));
}

TEST(KohyaFileNames, ThoseOfTheLastStepsStay) {
  FluxAdapterOptions options{.kohya_files = true, .kohya_name = "x", .kohya_every_steps = 10, .kohya_last_steps = 30};
  // As sd-scripts documents it: at step 50 that of step 10 goes, and those of the 30 steps before stay.
  EXPECT_THAT(left_after(options, 50, 0, false),
              ElementsAre("x-step00000020.safetensors", "x-step00000030.safetensors", "x-step00000040.safetensors",
                          "x-step00000050.safetensors"));
  options.kohya_last_steps = 5;
  EXPECT_THAT(left_after(options, 50, 0, false), ElementsAre("x-step00000050.safetensors"));
}

TEST(KohyaFileNames, SoManyFilesOfEpochsStay) {
  const FluxAdapterOptions options{
      .kohya_files = true, .kohya_name = "x", .kohya_every_epochs = 2, .kohya_last_epochs = 2};
  EXPECT_THAT(left_after(options, 25, 2, false), ElementsAre("x-000010.safetensors", "x-000012.safetensors"));
}

TEST(KohyaFileNames, TellTheEpochUnderWayOrThoseDone) {
  const FluxAdapterOptions options{
      .kohya_files = true, .kohya_name = "x", .kohya_every_steps = 6, .kohya_every_epochs = 1};
  const KohyaFiles middle = kohya_files(options, {6, 1, 3, false});
  ASSERT_EQ(middle.due.size(), 2);
  EXPECT_EQ(middle.due[0].epoch, 1);  // of step 6: the second, which has just ended
  EXPECT_EQ(middle.due[1].epoch, 2);
  const KohyaFiles end = kohya_files(options, {8, 2, 3, true});
  ASSERT_EQ(end.due.size(), 1);
  EXPECT_EQ(end.due[0].epoch, 3);
}

}  // namespace
}  // namespace millrace
