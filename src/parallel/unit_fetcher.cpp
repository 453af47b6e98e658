#include "parallel/unit_fetcher.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

#include "base/error.h"
#include "nn/meta_memory.h"

namespace millrace {
namespace {

// The stream that the pass computes on.
c10::Stream current_stream(torch::Device device) {
  return c10::impl::VirtualGuardImpl(device.type()).getStream(device);
}

}  // namespace

UnitFetcher::UnitFetcher(std::map<size_t, torch::Tensor> host, torch::Device device)
    : host_(std::move(host)), device_(device) {
  int64_t largest = 0;
  for (const auto& [unit, bytes] : host_) largest = std::max(largest, bytes.numel());
  if (device.is_cuda()) copies_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
  const MetaMemoryLabel label("offload buffers");
  for (Buffer& buffer : buffers_) {
    buffer.bytes = torch::empty({largest}, torch::TensorOptions().dtype(torch::kUInt8).device(device));
    if (!copies_) continue;
    buffer.arrived = std::make_unique<c10::Event>(device.type());
    buffer.left = std::make_unique<c10::Event>(device.type());
    // The allocator may have taken the memory from a tensor that this stream still reads.
    buffer.left->record(current_stream(device));
  }
}

// A copy that nothing has waited for must not write into memory that the allocator has given to another tensor.
UnitFetcher::~UnitFetcher() {
  if (!copies_) return;
  for (Buffer& buffer : buffers_) buffer.arrived->block(current_stream(device_));
}

UnitFetcher::Buffer* UnitFetcher::find(size_t unit) {
  for (Buffer& buffer : buffers_) {
    if (buffer.unit == unit) return &buffer;
  }
  return nullptr;
}

// Into the buffer whose unit was used longer ago: the unit in use was entered last.
UnitFetcher::Buffer& UnitFetcher::start(size_t unit) {
  auto& [first, second] = buffers_;
  Buffer& target = first.last_entry <= second.last_entry ? first : second;
  const torch::Tensor& host = host_.at(unit);
  const torch::Tensor bytes = target.bytes.narrow(0, 0, host.numel());
  target.unit = unit;
  ++num_copies_;
  if (!copies_) {
    bytes.copy_(host);
    return target;
  }
  target.left->block(*copies_);
  {
    const c10::StreamGuard on_stream(*copies_);
    bytes.copy_(host, /*non_blocking=*/true);
  }
  target.arrived->record(*copies_);
  return target;
}

torch::Tensor UnitFetcher::enter(size_t unit) {
  leave();  // where an exception has ended a pass
  Buffer* buffer = find(unit);
  if (buffer == nullptr) buffer = &start(unit);
  if (copies_) buffer->arrived->block(current_stream(device_));
  buffer->last_entry = ++entries_;
  in_use_ = buffer;
  return buffer->bytes.narrow(0, 0, host_.at(unit).numel());
}

void UnitFetcher::leave() {
  if (in_use_ == nullptr) return;
  if (copies_) in_use_->left->record(current_stream(device_));
  in_use_ = nullptr;
}

void UnitFetcher::fetch_after(size_t unit, Direction direction) {
  auto next = direction == Direction::kForward ? host_.upper_bound(unit) : host_.lower_bound(unit);
  if (direction == Direction::kBackward) {
    if (next == host_.begin()) return;
    --next;
  }
  if (next == host_.end() || find(next->first) != nullptr) return;
  start(next->first);
}

std::vector<size_t> UnitFetcher::held() const {
  std::vector<size_t> units;
  for (const Buffer& buffer : buffers_) {
    if (buffer.unit != kNone) units.push_back(buffer.unit);
  }
  std::sort(units.begin(), units.end());
  return units;
}

int64_t UnitFetcher::buffer_bytes() const {
  return 2 * buffers_.front().bytes.numel();
}

}  // namespace millrace
