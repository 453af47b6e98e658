// The bytes of tensors, one after the other, for a writer: tensors of a GPU pass through two pinned buffers of the
// largest one's size, the next copied while the last is written, so that a state larger than host memory can be saved.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <future>
#include <span>
#include <vector>

#include <torch/types.h>

namespace millrace {

class PieceStream {
 public:
  // Nothing may change the tensors while it lives.
  explicit PieceStream(std::vector<torch::Tensor> tensors);
  ~PieceStream();
  PieceStream(const PieceStream&) = delete;
  PieceStream& operator=(const PieceStream&) = delete;

  // The next tensor's, in row-major order; valid until the next call.
  std::span<const std::byte> next();
  // checksum64 of each tensor, made beside the writing; after the last next().
  std::vector<uint64_t> checksums();
  // Of both buffers: 0 if every tensor is contiguous and on the CPU already.
  int64_t buffer_bytes() const { return buffers_[0].numel() + buffers_[1].numel(); }

 private:
  static constexpr size_t kBuffers = 2;
  static bool is_in_place(const torch::Tensor& tensor) { return tensor.is_cpu() && tensor.is_contiguous(); }
  void start_copy(size_t index);
  torch::Tensor in_buffer(size_t index) const;

  std::vector<torch::Tensor> tensors_;
  std::array<torch::Tensor, kBuffers> buffers_;  // uint8
  std::vector<std::shared_future<uint64_t>> checksums_;
  size_t next_ = 0;
};

}  // namespace millrace
