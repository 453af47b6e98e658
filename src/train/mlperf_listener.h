// The MLPerf log of a run: the events of MLCommons' reference for text to image, in its order, and those that rules 6.1
// require. docs/mlperf.md explains the values.
#pragma once

#include <memory>
#include <optional>

#include "config/run_config.h"
#include "train/mlperf_config.h"
#include "train/run_listener.h"

namespace millrace {

// metrics.mlperf_logging; if not set, true for a run that validates by samples and has a target, like the
// benchmark's.
bool logs_for_mlperf(const RunConfig& config, std::optional<bool> mlperf_logging);

// For the first rank: writes mlperf_compliance.log in job.dump_folder, and stdout. A resumed run appends to the log of
// its earlier part.
//
// run_prepares() logs cache_clear, the description of the submission and the run, and init_start; run_starts() logs
// init_stop and run_start. block_start, tracked_stats and block_stop are logged for step 1 and every metrics.log_freq
// steps after it; tracked_stats covers all steps since the previous one, without the time between steps. run_stop has
// status "success" if the target was reached and all validations of the run, across interruptions, used
// mlperf.eval_samples samples. config must outlive the listener.
std::unique_ptr<RunListener> make_mlperf_listener(const RunConfig& config, const MlperfConfig& mlperf);

}  // namespace millrace
