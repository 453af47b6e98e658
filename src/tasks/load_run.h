// Puts the weights of a run into a model.
#pragma once

#include "checkpoint/run_weights.h"
#include "parallel/flat_parameters.h"

namespace millrace {

// One tensor at a time, and only this rank's part. Throws ModelError when the checkpoint has other tensors or sizes.
void load_run(const OpenRunWeights& run, FlatParameters& parameters);

}  // namespace millrace
