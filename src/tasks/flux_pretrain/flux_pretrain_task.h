// FLUX pretraining on pictures and captions: batch to loss, validation, sample grids.
#pragma once

#include <memory>
#include <vector>

#include "comm/mesh.h"
#include "config/run_config.h"
#include "models/model_table.h"
#include "nn/tensor_io.h"
#include "train/run_listener.h"
#include "train/task.h"

namespace millrace {

// The options of the task at their defaults, with the type that the functions below expect.
std::unique_ptr<RunConfig> make_flux_pretrain_config();

// mesh: must outlive the task. device: of this rank.
std::unique_ptr<Task> make_flux_pretrain_task(const RunConfig& config, Mesh& mesh, torch::Device device,
                                              TaskPurpose purpose);

// The listeners that the first rank adds for this task. config must outlive them.
std::vector<std::unique_ptr<RunListener>> make_flux_pretrain_listeners(const RunConfig& config);

// The model that a run with this configuration trained. shapes: of its checkpoint's tensors. Throws ModelError if they
// belong to another model.
std::unique_ptr<ModelDescription> describe_flux_pretrain_model(const RunConfig& config, const TensorMap& shapes);

}  // namespace millrace
