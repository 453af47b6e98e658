// torchtitan's options for FLUX that have no effect here, or another one.
#pragma once

#include <vector>

#include "config/foreign_options.h"

namespace millrace {

std::vector<ForeignOption> flux_foreign_options();

}  // namespace millrace
