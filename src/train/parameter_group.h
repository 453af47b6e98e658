// A model's flat parameters as an optimizer group.
#pragma once

#include "optim/flat_group.h"
#include "parallel/flat_parameters.h"

namespace millrace {

// This rank's part: masters, gradients, the narrow copy that the model computes with, if any, and the names.
// Buffers are shared, not copied.
FlatGroup parameter_group(const FlatParameters& parameters);

}  // namespace millrace
