// AdamW on CPU buffers; arguments are checked by adamw.cpp.
#pragma once

#include "kernels/adamw/adamw_raw.h"

namespace millrace {

void adamw_cpu(const AdamWArgs& args);

}  // namespace millrace
