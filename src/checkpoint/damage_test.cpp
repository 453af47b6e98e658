// Damaged checkpoints are refused, each and every one, and the way out is named.
#include <gmock/gmock.h>

#include <fstream>
#include <random>

#include "base/files.h"
#include "checkpoint/test_support.h"

namespace millrace {
namespace {

using ::testing::AllOf;
using testing::expect_holds_step;
using ::testing::HasSubstr;
using testing::message_of;
using testing::state_of_step;
using testing::TemporaryFolder;
using testing::tensors_of_step;

// Without fsync: these tests write thousands of files.
void overwrite(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
}

class DamageTest : public ::testing::Test {
 protected:
  DamageTest() {
    Checkpointer checkpointer({folder_.path(), 10, false});
    for (const int64_t step : {10, 20}) checkpointer.save(step, tensors_of_step(step), state_of_step(step));
  }
  std::string complaint() const {
    return message_of<StorageError>([this] { load_checkpoint(folder_.path()); });
  }
  TemporaryFolder folder_;
  std::filesystem::path latest_ = folder_.path() / "step-00000020";
};

// Every bit of both files would take long; every byte once, with a random bit, covers every field.
TEST_F(DamageTest, FindsABitFlipInAnyByteOfAnyFile) {
  std::mt19937 random(1);
  for (const char* name : {"index.json", "rank-00000.safetensors"}) {
    const std::string good = read_file(latest_ / name);
    for (size_t i = 0; i < good.size(); ++i) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ (1 << random() % 8));
      overwrite(latest_ / name, bad);
      try {
        expect_holds_step(LoadedCheckpoint(latest_), 20);  // a blank that became another blank does no harm
        EXPECT_TRUE(std::string(name) == "index.json" && std::isspace(static_cast<unsigned char>(good[i])))
            << name << " byte " << i;
      } catch (const StorageError&) {
      }
    }
    overwrite(latest_ / name, good);
  }
  expect_holds_step(load_checkpoint(folder_.path()), 20);
}

TEST_F(DamageTest, FindsTruncationAtAnyLengthAndAppendedBytes) {
  for (const char* name : {"index.json", "rank-00000.safetensors"}) {
    const std::string good = read_file(latest_ / name);
    const size_t end = good.find_last_not_of('\n') + 1;
    for (size_t size = 0; size < end; size += 1 + size / 16) {
      overwrite(latest_ / name, good.substr(0, size));
      EXPECT_THAT(complaint(), HasSubstr(name)) << size;
    }
    overwrite(latest_ / name, good + "x");
    EXPECT_THAT(complaint(), HasSubstr(name));
    overwrite(latest_ / name, good);
  }
}

TEST_F(DamageTest, NamesTheTensorAndTheCheckpointToGoBackTo) {
  const std::filesystem::path file = latest_ / "rank-00000.safetensors";
  std::string content = read_file(file);
  const SafetensorsFile good(file);
  const TensorView& weight = *good.find("model.weight");
  const size_t data_begin = content.size() - 38 * 4 - 35 * 4 - 3 * 2;  // after the int64 scalar: fp32, then bf16
  ASSERT_EQ(weight.bytes.size(), 35u * 4);
  content[data_begin + 4 * 3] ^= 1;
  overwrite(file, content);
  EXPECT_THAT(complaint(), AllOf(HasSubstr("rank-00000.safetensors"), HasSubstr("model.weight"),
                                 HasSubstr("--checkpoint.load_step=10")));
  expect_holds_step(load_checkpoint(folder_.path(), 10), 10);
}

TEST_F(DamageTest, SaysWhenThereIsNothingToGoBackTo) {
  for (const char* step : {"step-00000010", "step-00000020"}) {
    overwrite(folder_.path() / step / "index.json", "{}");
  }
  EXPECT_THAT(complaint(), HasSubstr("there is no complete one before it"));
}

TEST_F(DamageTest, FindsShardsSwappedBetweenCheckpoints) {
  const char* name = "rank-00000.safetensors";
  overwrite(latest_ / name, read_file(folder_.path() / "step-00000010" / name));
  EXPECT_THAT(complaint(), HasSubstr("checksum"));
}

TEST_F(DamageTest, FindsACheckpointUnderAnotherStepsName) {
  std::filesystem::rename(latest_, folder_.path() / "step-00000030");
  EXPECT_THAT(complaint(), HasSubstr("expected step 30, got 20"));
}

// The index is text from a disk like any other: no mutation may crash or exhaust memory.
TEST_F(DamageTest, SurvivesMutatedIndexes) {
  std::mt19937 random(2);
  const std::string good = read_file(latest_ / "index.json");
  int refused = 0;
  for (int trial = 0; trial < 300; ++trial) {
    std::string bad = good;
    for (int edit = 0; edit < 3; ++edit) {
      const size_t at = random() % bad.size();
      switch (random() % 3) {
        case 0:
          bad.erase(at, 1 + random() % 40);
          break;
        case 1:
          bad.insert(at, good.substr(random() % good.size(), random() % 40));
          break;
        default:
          bad[at] = static_cast<char>(random());
      }
    }
    overwrite(latest_ / "index.json", bad);
    try {
      load_checkpoint(folder_.path());
    } catch (const StorageError&) {
      ++refused;
    }
  }
  EXPECT_GE(refused, 295);  // an edit may fall on blanks alone
}

}  // namespace
}  // namespace millrace
