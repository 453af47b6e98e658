// torchtitan's options for FLUX that mean nothing here, or something else.
#pragma once

#include <vector>

#include "config/foreign_options.h"

namespace millrace {

std::vector<ForeignOption> flux_foreign_options();

}  // namespace millrace
