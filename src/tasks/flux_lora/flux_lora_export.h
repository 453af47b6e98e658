// A run's LoRA of FLUX as a file for other programs.
#pragma once

#include "tasks/adapter_export.h"

namespace millrace {

// kohya's naming unless another is asked for.
WriteAdapters flux_adapter_writer();

}  // namespace millrace
