// Training FLUX on pictures and captions: batch to loss, validation, sample grids. What is trained, the whole model or
// adapters, the configuration says.
#pragma once

#include <memory>

#include "comm/mesh.h"
#include "config/run_config.h"
#include "models/model_table.h"
#include "nn/tensor_io.h"
#include "train/task.h"

namespace millrace {

// config: a FluxRunConfig. mesh: must live as long as the task. device: of this rank.
std::unique_ptr<Task> make_flux_task(const RunConfig& config, Mesh& mesh, torch::Device device, TaskPurpose purpose);

// What a run that trained the whole model has trained. shapes: of its checkpoint's tensors. Throws ModelError for
// another model's.
std::unique_ptr<ModelDescription> describe_flux_model(const RunConfig& config, const TensorMap& shapes);

}  // namespace millrace
