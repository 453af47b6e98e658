// The answer of the *_no_cuda.cpp twins in a build without a GPU compiler.
#pragma once

#include <string>

#include "base/error.h"

namespace millrace {

[[noreturn]] inline void fail_no_cuda(const char* op) {
  throw ConfigError(std::string("[kernels/") + op +
                    "] expected a build with GPU kernels for a tensor on a GPU, got one without (try installing the "
                    "CUDA toolkit or ROCm and building again, or training.device=\"cpu\")");
}

}  // namespace millrace
