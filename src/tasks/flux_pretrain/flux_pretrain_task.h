// FLUX pretraining on pictures and captions: batch to loss, validation, sample grids.
#pragma once

#include <memory>

#include "config/run_config.h"
#include "train/task.h"

namespace millrace {

std::unique_ptr<Task> make_flux_pretrain_task(const RunConfig& config);

}  // namespace millrace
