// Whether a run resumes from a checkpoint of its own.
#pragma once

#include <torch/types.h>

#include "comm/mesh.h"
#include "config/run_config.h"

namespace millrace {

// Some rank sees a checkpoint in the run's folder. Collective over the mesh, on this rank's device.
bool has_earlier_checkpoint(const RunConfig& config, Mesh& mesh, torch::Device device);

}  // namespace millrace
