// Small host tensors on their way to a GPU, without waiting for it.
#pragma once

#include <torch/types.h>

namespace millrace {

// On a CPU a copy. To a GPU through pinned memory: a copy from ordinary memory would wait until the GPU has done all
// earlier work.
inline torch::Tensor copy_to_device(const torch::Tensor& host, torch::Device device) {
  if (!device.is_cuda()) return host.to(device, host.scalar_type(), /*non_blocking=*/false, /*copy=*/true);
  return host.pin_memory().to(device, host.scalar_type(), /*non_blocking=*/true);
}

}  // namespace millrace
