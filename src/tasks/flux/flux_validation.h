// The validation loss of FLUX as MLPerf defines it: the mean squared error of the velocity at t = 0, 1/8 ... 7/8.
//
// Every sample counts once, whatever the number of ranks and the batch size, with the same noise each time: the same
// weights give the same loss.
#pragma once

#include "comm/mesh.h"
#include "diffusion/flux_batch.h"
#include "diffusion/flux_objective.h"
#include "diffusion/flux_trainee.h"
#include "train/task.h"

namespace millrace {

struct FluxValidationOptions {
  FluxObjective objective;       // of which the times are not read
  int64_t max_batches = -1;      // -1: the whole data set
  bool all_timesteps = false;    // each sample at all timesteps instead of its own
  bool needs_timesteps = false;  // every sample must have one; otherwise they cycle in sample order
  std::string data_name;         // for messages
};

// The loss is the mean over the timesteps of the mean over their samples. Throws DataError when there are no samples,
// or when only some samples have a timestep; the same on all ranks.
ValidationResult validate_flux(FluxTrainee& trainee, FluxBatchSource& batches, Mesh& mesh,
                               const FluxValidationOptions& options);

}  // namespace millrace
