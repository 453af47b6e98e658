// A step's folder that lacks a part is named, never passed over, and never deleted or written over.
#include <gmock/gmock.h>

#include <fstream>

#include "base/files.h"
#include "checkpoint/test_support.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using testing::expect_holds_step;
using ::testing::HasSubstr;
using testing::message_of;
using testing::state_of_step;
using testing::TemporaryFolder;
using testing::tensors_of_step;

struct Loss {
  const char* what;
  std::function<void(const fs::path& step_folder)> make;
};

const Loss kLosses[] = {
    {"no index", [](const fs::path& step) { fs::remove(step / "index.json"); }},
    {"no shard", [](const fs::path& step) { fs::remove(step / "rank-00000.safetensors"); }},
    {"nothing in it",
     [](const fs::path& step) {
       fs::remove_all(step);
       fs::create_directory(step);
     }},
    {"an empty index", [](const fs::path& step) { std::ofstream(step / "index.json"); }},
    {"half an index", [](const fs::path& step) { fs::resize_file(step / "index.json", 300); }},
    {"a cut shard", [](const fs::path& step) { fs::resize_file(step / "rank-00000.safetensors", 100); }},
    {"a longer shard",
     [](const fs::path& step) { std::ofstream(step / "rank-00000.safetensors", std::ios::app) << "x"; }},
    {"a folder for an index",
     [](const fs::path& step) {
       fs::remove(step / "index.json");
       fs::create_directory(step / "index.json");
     }},
    {"a link to nowhere",
     [](const fs::path& step) {
       fs::remove_all(step);
       fs::create_symlink("nowhere", step);
     }},
    {"a file",
     [](const fs::path& step) {
       fs::remove_all(step);
       std::ofstream(step) << "x";
     }},
};

class IncompleteTest : public ::testing::TestWithParam<Loss> {
 protected:
  IncompleteTest() {
    Checkpointer checkpointer({folder_.path(), 0, false});
    for (const int64_t step : {10, 20, 30}) checkpointer.save(step, tensors_of_step(step), state_of_step(step));
  }
  fs::path step(int64_t number) const { return folder_.path() / step_folder_name(number); }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_.path())) found.push_back(entry.path().filename());
    std::sort(found.begin(), found.end());
    return found;
  }
  TemporaryFolder folder_;
};

TEST_P(IncompleteTest, TheNewestIsRefusedByNameAndTheWayOutIsSaid) {
  GetParam().make(step(30));
  const auto says = AllOf(HasSubstr(step(30).string()), HasSubstr("the checkpoint of step 30 is damaged"),
                          HasSubstr("--checkpoint.load_step=20"), HasSubstr("remove or rename"));
  EXPECT_THAT(message_of<StorageError>([&] { load_checkpoint(folder_.path()); }), says);
  EXPECT_THAT(message_of<StorageError>([&] { look_into_checkpoint(folder_.path()); }), says);
  EXPECT_THAT(message_of<StorageError>([&] { load_checkpoint(folder_.path(), 30, AskForStep::kByStep); }),
              HasSubstr("--step=20"));
  expect_holds_step(load_checkpoint(folder_.path(), 20), 20);
  EXPECT_EQ(look_into_checkpoint(folder_.path(), 20).step, 20);
  const Checkpointer checkpointer({folder_.path(), 0, false});
  EXPECT_TRUE(checkpointer.has_steps());
}

TEST_P(IncompleteTest, AnOlderOneIsNeitherCountedNorDeleted) {
  GetParam().make(step(20));
  expect_holds_step(load_checkpoint(folder_.path()), 30);
  Checkpointer checkpointer({folder_.path(), 2, false});
  checkpointer.save(40, tensors_of_step(40), state_of_step(40));
  EXPECT_THAT(names(), ElementsAre(".lock", "step-00000020", "step-00000030", "step-00000040"));
}

TEST_P(IncompleteTest, ItsNameIsTakenAndItsFilesStay) {
  GetParam().make(step(30));
  {
    Checkpointer checkpointer({folder_.path(), 0, false});
    checkpointer.save(30, tensors_of_step(30), state_of_step(30));
  }
  expect_holds_step(load_checkpoint(folder_.path()), 30);
  EXPECT_THAT(names(),
              ElementsAre(".lock", "step-00000010", "step-00000020", "step-00000030", "step-00000030.incomplete"));
  GetParam().make(step(30));
  Checkpointer checkpointer({folder_.path(), 0, false});
  checkpointer.save(30, tensors_of_step(30), state_of_step(30));
  EXPECT_THAT(names(), Contains("step-00000030.incomplete-2"));
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, IncompleteTest, ::testing::ValuesIn(kLosses), [](const auto& each) {
  std::string name = each.param.what;
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
});

TEST(StepFolders, AreAllThatAreNamedAsOne) {
  TemporaryFolder folder;
  for (const char* name :
       {"step-00000007", "step-00000003", "step-7", "step-00000009x", "notes", ".tmp-step-00000001"}) {
    fs::create_directory(folder.path() / name);
  }
  std::ofstream(folder.path() / "step-00000003" / "index.json") << "{}";
  const std::vector<StepFolder> found = step_folders(folder.path());
  ASSERT_EQ(found.size(), 2u);
  EXPECT_TRUE(found[0].step == 3 && found[0].has_index);
  EXPECT_TRUE(found[1].step == 7 && !found[1].has_index);
  EXPECT_THAT(message_of<StorageError>([&] { load_checkpoint(folder.path(), 5); }),
              HasSubstr("expected a checkpoint of step 5"));
}

}  // namespace
}  // namespace millrace
