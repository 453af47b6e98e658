// sd-scripts' network_args as options of [lora]: what compat/ asks for, which knows no layers.
#pragma once

#include <cstdint>

#include "compat/kohya_layers.h"

namespace millrace {

// For a FLUX of so many blocks.
KohyaLayersOf kohya_layers_of_flux(int64_t double_blocks, int64_t single_blocks, bool has_guidance);

}  // namespace millrace
