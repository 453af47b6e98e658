#include "checkpoint/staging.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>

#include "base/error.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

void wait_for_copies_from(const std::vector<torch::Device>& devices) {
  for (const torch::Device& device : devices) {
    const c10::impl::VirtualGuardImpl guard(device.type());
    guard.synchronizeStream(guard.getStream(device));
  }
}

}  // namespace

std::vector<TensorView> views_of(const std::vector<NamedTensor>& cpu_tensors) {
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : cpu_tensors) views.push_back(to_view(name, tensor));
  return views;
}

torch::Tensor HostStaging::buffer_for(const NamedTensor& source) {
  torch::Tensor& buffer = buffers_[source.name];
  const torch::Tensor& tensor = source.tensor;
  if (!buffer.defined() || buffer.sizes() != tensor.sizes() || buffer.scalar_type() != tensor.scalar_type()) {
    buffer = torch::empty(tensor.sizes(), torch::dtype(tensor.scalar_type()).pinned_memory(!tensor.is_cpu()));
  }
  return buffer;
}

std::vector<NamedTensor> HostStaging::copy(const std::vector<NamedTensor>& tensors, bool keep_in_place) {
  const torch::NoGradGuard no_grad;
  std::vector<NamedTensor> copies;
  std::vector<torch::Device> devices;
  for (const NamedTensor& source : tensors) {
    if (keep_in_place && source.tensor.is_cpu() && source.tensor.is_contiguous()) {
      copies.push_back({source.name, source.tensor.detach()});
      continue;
    }
    torch::Tensor buffer = buffer_for(source);
    buffer.copy_(source.tensor, /*non_blocking=*/true);
    const torch::Device device = source.tensor.device();
    if (!device.is_cpu() && std::find(devices.begin(), devices.end(), device) == devices.end())
      devices.push_back(device);
    copies.push_back({source.name, buffer});
  }
  wait_for_copies_from(devices);
  return copies;
}

}  // namespace millrace
