// What the *_no_cuda.cpp twins answer in a build without a CUDA toolkit.
#pragma once

#include <string>

#include "base/error.h"

namespace millrace {

[[noreturn]] inline void fail_no_cuda(const char* op) {
  throw ConfigError(std::string("[kernels/") + op +
                    "] expected a build with CUDA kernels for a CUDA tensor, got one without (try installing the CUDA "
                    "toolkit and building again, or training.device=\"cpu\")");
}

}  // namespace millrace
