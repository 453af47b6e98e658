#include "parallel/unit_fetcher.h"

#include <algorithm>

#include "nn/meta_memory.h"

namespace millrace {

UnitFetcher::UnitFetcher(std::map<size_t, torch::Tensor> host, CopyStream copies)
    : host_(std::move(host)), copies_(std::move(copies)) {
  int64_t largest = 0;
  for (const auto& [unit, bytes] : host_) largest = std::max(largest, bytes.numel());
  const MetaMemoryLabel label("offload buffers");
  for (Buffer& buffer : buffers_) {
    buffer.bytes = torch::empty({largest}, torch::TensorOptions().dtype(torch::kUInt8).device(copies_.device()));
    // The allocator may have taken the memory from a tensor that the computation still reads.
    copies_.mark_computed(buffer.left);
  }
}

// A copy that nothing has waited for must not write into memory that the allocator has given to another tensor.
UnitFetcher::~UnitFetcher() {
  for (const Buffer& buffer : buffers_) copies_.let_computation_wait(buffer.arrived);
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
  target.unit = unit;
  ++num_copies_;
  copies_.let_copies_wait(target.left);
  copies_.copy(target.bytes.narrow(0, 0, host.numel()), host);
  copies_.mark_copied(target.arrived);
  return target;
}

torch::Tensor UnitFetcher::enter(size_t unit) {
  leave();  // where an exception has ended a pass
  Buffer* buffer = find(unit);
  if (buffer == nullptr) buffer = &start(unit);
  copies_.let_computation_wait(buffer->arrived);
  buffer->last_entry = ++entries_;
  in_use_ = buffer;
  return buffer->bytes.narrow(0, 0, host_.at(unit).numel());
}

void UnitFetcher::leave() {
  if (in_use_ == nullptr) return;
  copies_.mark_computed(in_use_->left);
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
