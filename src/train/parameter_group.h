// A model's flat parameters as the optimizer takes them.
#pragma once

#include "optim/flat_group.h"
#include "parallel/flat_parameters.h"

namespace millrace {

// This rank's part: masters, gradients, the narrow copy that the model computes with where there is one, and the names.
// Buffers are shared, not copied.
FlatGroup parameter_group(const FlatParameters& parameters);

}  // namespace millrace
