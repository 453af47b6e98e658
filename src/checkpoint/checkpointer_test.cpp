#include "checkpoint/checkpointer.h"

#include <gmock/gmock.h>

#include <fstream>

#include "base/files.h"
#include "checkpoint/test_support.h"

namespace millrace {
namespace {

using ::testing::ElementsAre;
using testing::expect_holds_step;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;
using testing::state_of_step;
using testing::TemporaryFolder;
using testing::tensors_of_step;

class CheckpointerTest : public ::testing::Test {
 protected:
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) {
      found.push_back(entry.path().filename().string());
    }
    std::sort(found.begin(), found.end());
    return found;
  }
  TemporaryFolder folder_{std::filesystem::temp_directory_path()};  // a real disk
  std::filesystem::path path_ = folder_.path() / "run" / "checkpoint";
};

TEST_F(CheckpointerTest, SavesAndLoadsEveryTensorAndTheState) {
  for (const bool async : {false, true}) {
    Checkpointer checkpointer({path_, 10, async});
    checkpointer.save(1000, tensors_of_step(1000), state_of_step(1000));
    checkpointer.wait();
    expect_holds_step(checkpointer.load(), 1000);
    expect_holds_step(checkpointer.load(1000), 1000);
  }
  EXPECT_THAT(names(), ElementsAre(".lock", "step-00001000"));
}

TEST_F(CheckpointerTest, AsyncSaveHoldsTheTensorsAsTheyWereWhenItWasCalled) {
  Checkpointer checkpointer({path_, 10, true});
  for (int64_t step = 1; step <= 20; ++step) {
    std::vector<NamedTensor> tensors = tensors_of_step(step);
    checkpointer.save(step, tensors, state_of_step(step));
    for (const NamedTensor& named : tensors) named.tensor.zero_();
  }
  checkpointer.wait();
  EXPECT_EQ(checkpointer.steps().size(), 10);
  for (const int64_t step : checkpointer.steps()) expect_holds_step(checkpointer.load(step), step);
}

TEST_F(CheckpointerTest, ReservedMemoryServesSmallerAndLargerSaves) {
  Checkpointer checkpointer({path_, 10, true});
  checkpointer.reserve(whole_pieces(tensors_of_step(1)));
  for (const int64_t step : {1, 2}) {
    std::vector<NamedTensor> tensors = tensors_of_step(step);
    if (step == 2) tensors.push_back({"large", torch::arange(1 << 20)});
    checkpointer.save(step, tensors, state_of_step(step));
    for (const NamedTensor& named : tensors) named.tensor.zero_();
    checkpointer.wait();
  }
  expect_holds_step(checkpointer.load(1), 1);
  EXPECT_TRUE(torch::equal(checkpointer.load(2).tensor("large"), torch::arange(1 << 20)));
}

TEST_F(CheckpointerTest, SavesStridedTensorsInRowMajorOrder) {
  const torch::Tensor matrix = torch::arange(12, torch::kFloat32).view({3, 4});
  for (const bool async : {false, true}) {
    Checkpointer checkpointer({path_, 10, async});
    checkpointer.save(1, {{"t", matrix.t()}}, "{}");
    checkpointer.wait();
    EXPECT_TRUE(torch::equal(checkpointer.load().tensor("t"), matrix.t()));
  }
}

TEST_F(CheckpointerTest, KeepsTheLatest) {
  for (const int keep : {1, 2, 3}) {
    TemporaryFolder folder;
    Checkpointer checkpointer({folder.path(), keep, true});
    for (int64_t step = 5; step <= 30; step += 5) checkpointer.save(step, tensors_of_step(step), state_of_step(step));
    checkpointer.wait();
    std::vector<int64_t> expected;
    for (int64_t step = 30 - 5 * (keep - 1); step <= 30; step += 5) expected.push_back(step);
    EXPECT_EQ(checkpointer.steps(), expected);
  }
}

TEST_F(CheckpointerTest, KeepsAllWithZero) {
  Checkpointer checkpointer({path_, 0, false});
  for (int64_t step = 1; step <= 15; ++step) checkpointer.save(step, tensors_of_step(step), state_of_step(step));
  EXPECT_EQ(checkpointer.steps().size(), 15);
}

// A run that goes back with load_step must not lose what it writes then, nor the checkpoints it went back from.
TEST_F(CheckpointerTest, KeepsHigherStepsWhenARunWentBack) {
  {
    Checkpointer checkpointer({path_, 0, false});
    for (const int64_t step : {10, 20, 30, 40}) checkpointer.save(step, tensors_of_step(step), state_of_step(step));
  }
  Checkpointer checkpointer({path_, 2, false});
  checkpointer.save(25, tensors_of_step(25), state_of_step(25));
  EXPECT_THAT(checkpointer.steps(), ElementsAre(20, 25, 30, 40));
  expect_holds_step(checkpointer.load(25), 25);
}

TEST_F(CheckpointerTest, ReplacesACheckpointOfTheSameStep) {
  Checkpointer checkpointer({path_, 10, false});
  checkpointer.save(8, {{"old", torch::zeros(3)}}, "{}");
  checkpointer.save(8, tensors_of_step(8), state_of_step(8));
  EXPECT_THAT(names(), ElementsAre(".lock", "step-00000008"));
  expect_holds_step(checkpointer.load(8), 8);
}

TEST_F(CheckpointerTest, RemovesWhatAKilledProcessLeft) {
  std::filesystem::create_directories(path_ / ".tmp-step-00000008-123-0");
  std::ofstream(path_ / ".tmp-step-00000008-123-0" / "rank-00000.safetensors") << "half";
  std::filesystem::create_directories(path_ / ".tmp-delete-step-00000002-123-1");
  std::filesystem::create_directories(path_ / "step-00000003");  // no index: not complete
  std::filesystem::create_directories(path_ / "notes");
  const Checkpointer checkpointer({path_, 10, false});
  EXPECT_THAT(names(), ElementsAre(".lock", "notes", "step-00000003"));
  EXPECT_THAT(checkpointer.steps(), IsEmpty());
}

TEST_F(CheckpointerTest, IgnoresFoldersThatAreNotSteps) {
  Checkpointer checkpointer({path_, 10, false});
  checkpointer.save(7, tensors_of_step(7), state_of_step(7));
  for (const char* name : {"step-7", "step-", "step-00000009x", "step--0000009", "step-99999999999999999999"}) {
    std::filesystem::copy(path_ / "step-00000007", path_ / name);
  }
  EXPECT_THAT(checkpointer.steps(), ElementsAre(7));
}

TEST_F(CheckpointerTest, OnlyOneProcessSaves) {
  const Checkpointer first({path_, 10, false});
  const std::string message = message_of<StorageError>([&] { const FolderLock second(path_); });
  EXPECT_THAT(message, HasSubstr("another running process"));
}

TEST_F(CheckpointerTest, ReadersNeedNoLockAndLeaveASaveUnderWayAlone) {
  Checkpointer checkpointer({path_, 10, false});
  checkpointer.save(7, tensors_of_step(7), state_of_step(7));
  std::filesystem::create_directories(path_ / ".tmp-step-00000014-1-0");
  expect_holds_step(load_checkpoint(path_), 7);
  EXPECT_TRUE(std::filesystem::exists(path_ / ".tmp-step-00000014-1-0"));
}

TEST_F(CheckpointerTest, ATensorOutlivesTheCheckpointAndItsFiles) {
  torch::Tensor tensor;
  {
    Checkpointer checkpointer({path_, 1, false});
    checkpointer.save(1, tensors_of_step(1), state_of_step(1));
    tensor = checkpointer.load().tensor("model.weight");
    checkpointer.save(2, tensors_of_step(2), state_of_step(2));
  }
  EXPECT_TRUE(torch::equal(tensor, tensors_of_step(1)[0].tensor));
}

TEST_F(CheckpointerTest, NamesWhatIsThereWhenAStepIsNot) {
  EXPECT_THAT(message_of<StorageError>([&] { load_checkpoint(path_); }), HasSubstr("expected a checkpoint, got none"));
  Checkpointer checkpointer({path_, 10, false});
  for (const int64_t step : {10, 20}) checkpointer.save(step, tensors_of_step(step), state_of_step(step));
  const std::string message = message_of<StorageError>([&] { checkpointer.load(15); });
  EXPECT_THAT(message, HasSubstr("step 15"));
  EXPECT_THAT(message, HasSubstr("10, 20"));
}

}  // namespace
}  // namespace millrace
