#include "checkpoint/piece_stream.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/files.h"
#include "checkpoint/test_support.h"

namespace millrace {
namespace {

using testing::TemporaryFolder;

std::vector<torch::Tensor> strided_tensors(int64_t count) {
  std::vector<torch::Tensor> tensors;
  for (int64_t i = 0; i < count; ++i) {
    tensors.push_back((torch::arange(70000 - 1000 * i, torch::kFloat32) + i).view({-1, 10}).t());
  }
  return tensors;
}

// What is not in host memory as files have it (here: strided tensors) takes two buffers, however many there are.
TEST(PieceStream, TwoBuffersServeAnyNumberOfTensors) {
  const std::vector<torch::Tensor> tensors = strided_tensors(9);
  PieceStream stream(tensors);
  EXPECT_EQ(stream.buffer_bytes(), 2 * 70000 * 4);
  for (const torch::Tensor& tensor : tensors) {
    const std::span<const std::byte> bytes = stream.next();
    const torch::Tensor expected = tensor.contiguous();
    ASSERT_EQ(bytes.size(), expected.nbytes());
    EXPECT_EQ(std::memcmp(bytes.data(), expected.const_data_ptr(), bytes.size()), 0);
  }
  const std::vector<uint64_t> checksums = stream.checksums();
  for (size_t i = 0; i < tensors.size(); ++i) {
    const torch::Tensor expected = tensors[i].contiguous();
    EXPECT_EQ(checksums[i], checksum64(expected.const_data_ptr(), expected.nbytes()));
  }
}

TEST(PieceStream, WhatIsInHostMemoryIsNotCopied) {
  const torch::Tensor tensor = torch::arange(100, torch::kFloat32);
  PieceStream stream({tensor, torch::zeros({0, 3}), tensor});
  EXPECT_EQ(stream.buffer_bytes(), 0);
  EXPECT_EQ(stream.next().data(), static_cast<const std::byte*>(tensor.const_data_ptr()));
  EXPECT_EQ(stream.next().size(), 0u);
  EXPECT_EQ(stream.next().size(), tensor.nbytes());
}

// A save in the background that host memory has no room for waits instead, and the log says so at the start.
TEST(CheckpointMemory, WithoutRoomForACopySavesWait) {
  for (const uint64_t available : {uint64_t{1} << 40, uint64_t{100'000}}) {
    const TemporaryFolder folder;
    Checkpointer checkpointer(
        {.folder = folder.path() / "checkpoint", .ranks_on_host = 2, .available_memory = [=] { return available; }});
    const torch::Tensor weights = torch::arange(20000, torch::kFloat32);
    ::testing::internal::CaptureStderr();
    checkpointer.reserve(whole_pieces({{"weights", weights}}));
    const bool fits = available > 1'000'000;
    const std::string log = ::testing::internal::GetCapturedStderr();
    EXPECT_EQ(log.find("expected 156.25 KiB") == std::string::npos, fits) << log;
    checkpointer.save(1, {{"weights", weights}}, "{}");
    EXPECT_EQ(checkpointer.saves_in_background(), fits);
    weights.zero_();
    checkpointer.wait();
    EXPECT_TRUE(torch::equal(checkpointer.load().tensor("weights"), torch::arange(20000, torch::kFloat32)));
  }
}

}  // namespace
}  // namespace millrace
