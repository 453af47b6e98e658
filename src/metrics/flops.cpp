#include "metrics/flops.h"

#include "metrics/hardware.h"

namespace millrace {

std::optional<double> peak_flops(std::string_view device_name) {
  for (const GpuSpec& gpu : gpu_table()) {
    if (device_name.find(gpu.device) != std::string_view::npos) return gpu.bf16_flops;
  }
  return std::nullopt;
}

}  // namespace millrace
