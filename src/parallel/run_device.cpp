#include "parallel/run_device.h"

#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/cuda.h>

#include "base/error.h"
#include "base/log.h"
#include "nn/device.h"

namespace millrace {

torch::Device device_of_rank(const std::string& wanted, const World& world) {
  const torch::Device first = resolve_device(wanted);
  if (!first.is_cuda()) return first;
  const auto make_current = [](torch::Device device) {
    c10::impl::VirtualGuardImpl(c10::kCUDA).setDevice(device);
    return device;
  };
  if (world.local_size == 1) return make_current(first);
  const int count = static_cast<int>(torch::cuda::device_count());
  if (count > 1 && count < world.local_size) {
    throw ConfigError(str("[training.device] expected a GPU for each of the ", world.local_size, " ranks on ",
                          world.host, ", got ", count, " (try fewer ranks, or training.device = \"cpu\")"));
  }
  return make_current(torch::Device(torch::kCUDA, static_cast<c10::DeviceIndex>(count == 1 ? 0 : world.local_rank)));
}

}  // namespace millrace
