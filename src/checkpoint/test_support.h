// Helpers for the tests of this folder.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <torch/types.h>

#include "base/error.h"
#include "checkpoint/checkpointer.h"

namespace millrace::testing {

// fork(), with OpenMP limited to one thread in the child: its other threads do not survive, and it would wait for ever.
inline pid_t fork_child() {
  const pid_t child = ::fork();
  if (child == 0) at::set_num_threads(1);
  return child;
}

// In memory where possible: these tests sync thousands of files.
inline std::filesystem::path fast_folder() {
  return ::access("/dev/shm", W_OK) == 0 ? "/dev/shm" : std::filesystem::temp_directory_path();
}

// A temporary folder that is deleted when the test ends.
class TemporaryFolder {
 public:
  explicit TemporaryFolder(const std::filesystem::path& parent = fast_folder()) {
    static std::atomic<int> counter{0};
    path_ = parent / ("millrace-checkpoint-test-" + std::to_string(::getpid()) + "-" + std::to_string(counter++));
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Weights and moments of odd sizes; values differ from step to step.
inline std::vector<NamedTensor> tensors_of_step(int64_t step) {
  const auto base = static_cast<double>(step);
  return {{"model.weight", torch::arange(35, torch::kFloat32).view({5, 7}) + base},
          {"model.bias", torch::arange(3, torch::kFloat32).to(torch::kBFloat16) - base},
          {"optimizer.all.exp_avg", torch::arange(38, torch::kFloat32) * base},
          {"empty", torch::zeros({0, 4})},
          {"scalar", torch::tensor(step, torch::kInt64)}};
}

inline std::string state_of_step(int64_t step) {
  return R"({"data":{"position":)" + std::to_string(step * 32) + R"(},"seed":7})";
}

inline void expect_holds_step(const LoadedCheckpoint& loaded, int64_t step) {
  EXPECT_EQ(loaded.step(), step);
  EXPECT_EQ(loaded.state_json(), state_of_step(step));
  for (const NamedTensor& expected : tensors_of_step(step)) {
    EXPECT_TRUE(torch::equal(loaded.tensor(expected.name), expected.tensor)) << expected.name;
  }
}

// No step folder is incomplete, and `step` is the latest and loads.
inline void expect_latest_is(const std::filesystem::path& folder, int64_t step) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with("step-")) {
      EXPECT_TRUE(std::filesystem::exists(entry.path() / kCheckpointIndexName)) << entry.path();
    }
  }
  ASSERT_FALSE(checkpoint_steps(folder).empty());
  EXPECT_EQ(checkpoint_steps(folder).back(), step);
  expect_holds_step(load_checkpoint(folder), step);
}

// The message of the Thrown that action throws; a test failure if it throws nothing.
template <typename Thrown>
std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Thrown& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

class WriteHookGuard {
 public:
  explicit WriteHookGuard(WriteHook hook) { set_write_hook_for_testing(std::move(hook)); }
  ~WriteHookGuard() { set_write_hook_for_testing(nullptr); }
};

inline bool has_leftovers(const std::filesystem::path& folder) {
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with(".tmp-")) return true;
  }
  return false;
}

}  // namespace millrace::testing
