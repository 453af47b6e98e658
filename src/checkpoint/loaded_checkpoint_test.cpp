#include "checkpoint/loaded_checkpoint.h"

#include <gmock/gmock.h>

#include <fstream>

#include "base/files.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/shard_header.h"
#include "checkpoint/test_support.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;
using ::testing::Not;
using testing::state_of_step;
using testing::TemporaryFolder;
using testing::tensors_of_step;

class CopyIntoTest : public ::testing::Test {
 protected:
  CopyIntoTest() {
    Checkpointer checkpointer({folder_.path(), 10, false});
    checkpointer.save(3, tensors_of_step(3), state_of_step(3));
  }
  TemporaryFolder folder_;
};

TEST_F(CopyIntoTest, FillsTensorsInPlace) {
  const std::vector<NamedTensor> targets = tensors_of_step(0), expected = tensors_of_step(3);
  load_checkpoint(folder_.path()).copy_into(targets);
  for (size_t i = 0; i < targets.size(); ++i) EXPECT_TRUE(torch::equal(targets[i].tensor, expected[i].tensor));
}

TEST_F(CopyIntoTest, ListsDifferencesAndChangesNothing) {
  std::vector<NamedTensor> targets = tensors_of_step(0);
  targets[0].tensor = torch::zeros({5, 8});
  targets[1].tensor = torch::zeros({3});
  targets[2].name = "optimizer.all.exp_avg_sq";
  const std::string message = message_of<ModelError>([&] { load_checkpoint(folder_.path()).copy_into(targets); });
  EXPECT_THAT(message, AllOf(HasSubstr("4 differences"), HasSubstr("model.weight is F32 [5, 7], wanted F32 [5, 8]"),
                             HasSubstr("model.bias is BF16 [3], wanted F32 [3]"),
                             HasSubstr("optimizer.all.exp_avg_sq is missing"),
                             HasSubstr("optimizer.all.exp_avg is not wanted")));
  EXPECT_EQ(targets[4].tensor.item<int64_t>(), 0);
}

TEST_F(CopyIntoTest, TellsTheFirstFewDifferencesAndCountsTheRest) {
  std::vector<NamedTensor> targets = tensors_of_step(0);
  for (int i = 0; i < 100; ++i) targets.push_back({"surplus." + std::to_string(i), torch::zeros({1})});
  const std::string message = message_of<ModelError>([&] { load_checkpoint(folder_.path()).copy_into(targets); });
  EXPECT_THAT(message, AllOf(HasSubstr("100 differences"), HasSubstr("and 95 more")));
  EXPECT_LT(message.size(), 1000u);
}

TEST_F(CopyIntoTest, ReadsAPartWhenAsked) {
  const torch::Tensor weight = torch::zeros({5, 7});
  load_checkpoint(folder_.path()).copy_into({{"model.weight", weight}}, Surplus::kIgnore);
  EXPECT_TRUE(torch::equal(weight, tensors_of_step(3)[0].tensor));
}

// A checkpoint as several ranks would write it: `whole` flattened and cut into runs, `table` cut into boxes.
class ManyRanksTest : public ::testing::Test {
 protected:
  ManyRanksTest() {
    std::filesystem::create_directories(step_folder_);
    index_.step = 9;
    index_.world_size = 3;
    CheckpointTensor runs{DType::kF32, {5, 7}, {}}, boxes{DType::kF32, {4, 6}, {}};
    const std::vector<int64_t> cuts = {0, 11, 12, 35};
    for (int64_t rank = 0; rank < 3; ++rank) {
      const torch::Tensor run = whole_.view(-1).slice(0, cuts[rank], cuts[rank + 1]).contiguous();
      const torch::Tensor box = table_.slice(1, 2 * rank, 2 * rank + 2).contiguous();
      const std::string file = shard_file_name(static_cast<int>(rank), 3);
      save_tensors(step_folder_ / file, {{"whole", run}, {"table", box}});
      index_.files[file] = describe_shard(step_folder_ / file);
      runs.pieces.push_back({file, "whole", cuts[rank], {}, {run.numel()}, checksum_of(run)});
      boxes.pieces.push_back({file, "table", 0, {0, 2 * rank}, {4, 2}, checksum_of(box)});
    }
    std::swap(runs.pieces[0], runs.pieces[2]);  // their order is free
    index_.tensors = {{"whole", runs}, {"table", boxes}};
  }

  static uint64_t checksum_of(const torch::Tensor& tensor) {
    return checksum64(tensor.data_ptr(), static_cast<size_t>(tensor.nbytes()));
  }
  LoadedCheckpoint load() {
    write_file_atomically(step_folder_ / kCheckpointIndexName, to_json(index_));
    return load_checkpoint(folder_.path(), 9);
  }
  std::string complaint() {
    return message_of<StorageError>([this] { load(); });
  }

  TemporaryFolder folder_;
  std::filesystem::path step_folder_ = folder_.path() / step_folder_name(9);
  torch::Tensor whole_ = torch::randn({5, 7}), table_ = torch::randn({4, 6});
  CheckpointIndex index_;
};

TEST_F(ManyRanksTest, AssemblesTensorsFromThePiecesOfAllRanks) {
  const LoadedCheckpoint loaded = load();
  EXPECT_EQ(loaded.world_size(), 3);
  EXPECT_TRUE(torch::equal(loaded.tensor("whole"), whole_));
  EXPECT_TRUE(torch::equal(loaded.tensor("table"), table_));
  const torch::Tensor whole = torch::zeros({5, 7}), table = torch::zeros({4, 6});
  loaded.copy_into({{"whole", whole}, {"table", table}});
  EXPECT_TRUE(torch::equal(whole, whole_));
  EXPECT_TRUE(torch::equal(table, table_));
}

TEST_F(ManyRanksTest, RefusesPiecesThatDoNotCoverExactly) {
  const auto complaint_after = [&](const char* tensor, auto change) {
    const CheckpointIndex good = index_;
    change(index_.tensors.at(tensor).pieces);
    const std::string message = complaint();
    index_ = good;
    return message;
  };
  using Pieces = std::vector<CheckpointPiece>;
  EXPECT_THAT(complaint_after("whole", [](Pieces& runs) { runs.pop_back(); }), HasSubstr("a gap"));
  EXPECT_THAT(complaint_after("whole", [](Pieces& runs) { runs[1].offset = 10; }), HasSubstr("overlapping"));
  EXPECT_THAT(complaint_after("whole", [](Pieces& runs) { runs[0].offset = int64_t{1} << 62; }),
              HasSubstr("ends behind"));
  EXPECT_THAT(complaint_after("whole", [](Pieces& runs) { runs[0].start = {0, 0}; }), HasSubstr("together"));
  EXPECT_THAT(complaint_after("table", [](Pieces& boxes) { boxes.pop_back(); }), HasSubstr("a gap"));
  EXPECT_THAT(complaint_after("table", [](Pieces& boxes) { boxes[1].start = {0, 1}; }), HasSubstr("overlapping"));
  EXPECT_THAT(complaint_after("table", [](Pieces& boxes) { boxes[2].start = {1, 4}; }), HasSubstr("reaches out"));
  EXPECT_THAT(complaint_after("table", [](Pieces& boxes) { boxes[0].start = {0}; }), HasSubstr("another rank"));
}

TEST_F(ManyRanksTest, RefusesShapesThatOverflow) {
  index_.tensors["whole"].shape = {int64_t{1} << 40, int64_t{1} << 40};
  EXPECT_THAT(complaint(), HasSubstr("2^48"));
}

TEST_F(ManyRanksTest, RefusesFilesOutsideTheFolder) {
  for (const char* file : {"../rank-00000.safetensors", "/etc/passwd", ".."}) {
    CheckpointIndex bad = index_;
    bad.files[file] = bad.files.begin()->second;
    write_file_atomically(step_folder_ / kCheckpointIndexName, to_json(bad));
    EXPECT_THAT(message_of<StorageError>([&] { load_checkpoint(folder_.path(), 9); }), HasSubstr("plain file name"));
  }
}

TEST_F(ManyRanksTest, NamesAMissingShard) {
  load();
  std::filesystem::remove(step_folder_ / shard_file_name(1, 3));
  EXPECT_THAT(complaint(), HasSubstr("rank-00001-of-00003.safetensors"));
}

TEST_F(ManyRanksTest, RefusesAnotherFormatVersion) {
  std::string text = to_json(index_);
  const std::string version = "\"format_version\": 1";
  text.replace(text.find(version), version.size(), "\"format_version\": 2");
  write_file_atomically(step_folder_ / kCheckpointIndexName, text);
  const std::string message = message_of<StorageError>([&] { load_checkpoint(folder_.path(), 9); });
  EXPECT_THAT(message, HasSubstr("format_version 1, got 2"));
}

TEST_F(ManyRanksTest, AnIndexThatWasReformattedStillLoads) {
  load();
  std::string text = read_file(step_folder_ / kCheckpointIndexName);
  text.erase(std::remove(text.begin(), text.end(), '\n'), text.end());
  write_file_atomically(step_folder_ / kCheckpointIndexName, text);
  EXPECT_TRUE(torch::equal(load_checkpoint(folder_.path()).tensor("whole"), whole_));
}

}  // namespace
}  // namespace millrace
