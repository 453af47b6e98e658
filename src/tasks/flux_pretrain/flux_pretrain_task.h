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

// The options of the task at their defaults; of the type that the functions below expect.
std::unique_ptr<RunConfig> make_flux_pretrain_config();

// mesh: must live as long as the task. device: of this rank.
std::unique_ptr<Task> make_flux_pretrain_task(const RunConfig& config, Mesh& mesh, torch::Device device,
                                              TaskPurpose purpose);

// The records that the first rank keeps of a run, beside those of every task. config must live as long.
std::vector<std::unique_ptr<RunListener>> make_flux_pretrain_listeners(const RunConfig& config);

// What a run with this configuration trained. shapes: of its checkpoint's tensors. Throws ModelError for another
// model's.
std::unique_ptr<ModelDescription> describe_flux_pretrain_model(const RunConfig& config, const TensorMap& shapes);

}  // namespace millrace
