#include "parallel/copy_stream.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "parallel/byte_run.h"

namespace millrace {

CopyStream::CopyStream(torch::Device device) : device_(device) {
  if (device.is_cuda()) stream_ = c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
}

c10::Stream CopyStream::computation() const {
  return c10::impl::VirtualGuardImpl(device_.type()).getStream(device_);
}

torch::Tensor CopyStream::host_memory(int64_t bytes) const {
  if (device_.is_meta()) return without_memory(bytes, torch::kUInt8);
  return torch::empty({bytes}, torch::TensorOptions().dtype(torch::kUInt8).pinned_memory(device_.is_cuda()));
}

void CopyStream::copy(const torch::Tensor& to, const torch::Tensor& from) const {
  if (!stream_) {
    to.copy_(from);
    return;
  }
  const c10::StreamGuard on_stream(*stream_);
  to.copy_(from, /*non_blocking=*/true);
}

void CopyStream::mark(Moment& moment, const c10::Stream& stream) const {
  if (!moment.event_) moment.event_ = std::make_unique<c10::Event>(device_.type());
  moment.event_->record(stream);
}

void CopyStream::mark_copied(Moment& moment) const {
  if (stream_) mark(moment, *stream_);
}

void CopyStream::mark_computed(Moment& moment) const {
  if (stream_) mark(moment, computation());
}

void CopyStream::let_copies_wait(const Moment& moment) const {
  if (moment.event_) moment.event_->block(*stream_);
}

void CopyStream::let_computation_wait(const Moment& moment) const {
  if (moment.event_) moment.event_->block(computation());
}

}  // namespace millrace
