#include "metrics/flops.h"

#include "metrics/hardware.h"

namespace millrace {
namespace {

// "RTX 3060 Ti" is another card than "RTX 3060".
bool is_variant(std::string_view rest) {
  for (const std::string_view word : {" Ti", " SUPER", " Laptop"}) {
    if (rest.substr(0, word.size()) == word) return true;
  }
  return false;
}

}  // namespace

std::optional<double> peak_flops(std::string_view device_name) {
  for (const GpuSpec& gpu : gpu_table()) {
    const size_t found = device_name.find(gpu.device);
    if (found != std::string_view::npos && !is_variant(device_name.substr(found + gpu.device.size()))) {
      return gpu.bf16_flops;
    }
  }
  return std::nullopt;
}

}  // namespace millrace
