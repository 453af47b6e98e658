#include "checkpoint/piece_stream.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "base/files.h"

namespace millrace {

PieceStream::PieceStream(std::vector<torch::Tensor> tensors) : tensors_(std::move(tensors)) {
  int64_t largest = 0, count = 0;
  bool pinned = false;
  for (const torch::Tensor& tensor : tensors_) {
    if (is_in_place(tensor)) continue;
    largest = std::max(largest, static_cast<int64_t>(tensor.nbytes()));
    pinned = pinned || !tensor.is_cpu();
    ++count;
  }
  for (size_t i = 0; i < kBuffers; ++i) {
    const bool needed = static_cast<int64_t>(i) < count;
    buffers_[i] = torch::empty({needed ? largest : 0}, torch::dtype(torch::kUInt8).pinned_memory(pinned && needed));
  }
  if (!tensors_.empty()) start_copy(0);
}

PieceStream::~PieceStream() {
  for (const std::shared_future<uint64_t>& checksum : checksums_) checksum.wait();  // they read the buffers
}

torch::Tensor PieceStream::in_buffer(size_t index) const {
  const torch::Tensor& tensor = tensors_[index];
  return buffers_[index % kBuffers]
      .narrow(0, 0, static_cast<int64_t>(tensor.nbytes()))
      .view(tensor.scalar_type())
      .view(tensor.sizes());
}

void PieceStream::start_copy(size_t index) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor& tensor = tensors_[index];
  if (is_in_place(tensor) || tensor.numel() == 0) return;
  if (index >= kBuffers) checksums_[index - kBuffers].wait();  // of the tensor in this buffer
  in_buffer(index).copy_(tensor.detach(), /*non_blocking=*/true);
}

std::span<const std::byte> PieceStream::next() {
  MILLRACE_CHECK(next_ < tensors_.size());
  const size_t index = next_++;
  const torch::Tensor& tensor = tensors_[index];
  if (!tensor.is_cpu()) {
    const c10::impl::VirtualGuardImpl guard(tensor.device().type());
    guard.synchronizeStream(guard.getStream(tensor.device()));
  }
  std::span<const std::byte> bytes;
  if (tensor.numel() > 0) {
    const torch::Tensor host = is_in_place(tensor) ? tensor : in_buffer(index);
    bytes = {static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()};
  }
  checksums_.push_back(
      std::async(std::launch::async, [bytes] { return checksum64(bytes.data(), bytes.size()); }).share());
  // The writer is done with the tensor before this one, whose buffer the next one takes.
  if (next_ < tensors_.size()) start_copy(next_);
  return bytes;
}

std::vector<uint64_t> PieceStream::checksums() {
  MILLRACE_CHECK(next_ == tensors_.size());
  std::vector<uint64_t> all;
  for (const std::shared_future<uint64_t>& checksum : checksums_) all.push_back(checksum.get());
  return all;
}

}  // namespace millrace
