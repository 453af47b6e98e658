// FLUX pretraining: all weights are trained, and the run may keep MLPerf's log.
#pragma once

#include <memory>
#include <vector>

#include "config/run_config.h"
#include "train/run_listener.h"

namespace millrace {

// The options of the task at their defaults; of the type that the functions of the task expect.
std::unique_ptr<RunConfig> make_flux_pretrain_config();

// The records that the first rank keeps of a run, beside those of every task. config must live as long.
std::vector<std::unique_ptr<RunListener>> make_flux_pretrain_listeners(const RunConfig& config);

}  // namespace millrace
