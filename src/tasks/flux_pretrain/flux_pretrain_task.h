// FLUX pretraining on pictures and captions: batch to loss, validation, sample grids.
#pragma once

#include <memory>

#include "comm/mesh.h"
#include "config/run_config.h"
#include "train/task.h"

namespace millrace {

// mesh: must live as long as the task. device: of this rank.
std::unique_ptr<Task> make_flux_pretrain_task(const RunConfig& config, Mesh& mesh, torch::Device device,
                                              TaskPurpose purpose);

}  // namespace millrace
