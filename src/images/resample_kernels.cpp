#include "images/resample_kernels.h"

#include <string_view>

namespace millrace {
namespace v2 {
extern const PixelKernels kPixelKernels;
}
namespace v3 {
extern const PixelKernels kPixelKernels;
}
namespace v4 {
extern const PixelKernels kPixelKernels;
}

const PixelKernels* pixel_kernels(const char* level) {
  __builtin_cpu_init();
  const std::string_view name = level;
  if (name == "v2") return &v2::kPixelKernels;
  if (name == "v3") return __builtin_cpu_supports("x86-64-v3") ? &v3::kPixelKernels : nullptr;
  if (name == "v4") return __builtin_cpu_supports("x86-64-v4") ? &v4::kPixelKernels : nullptr;
  return nullptr;
}

const PixelKernels& pixel_kernels() {
  static const PixelKernels& best = [&]() -> const PixelKernels& {
    for (const char* level : {"v4", "v3"}) {
      if (const PixelKernels* found = pixel_kernels(level)) return *found;
    }
    return v2::kPixelKernels;
  }();
  return best;
}

}  // namespace millrace
