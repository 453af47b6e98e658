// Sets up the metric logger of a run.
#pragma once

#include <cstdint>

#include "comm/communicator.h"
#include "config/run_config.h"
#include "metrics/metric_logger.h"
#include "train/task.h"

namespace millrace {

// first_step: the first one of this process. The first rank writes files; task and ranks must outlive the
// logger.
MetricLoggerOptions metric_options(Task& task, const RunConfig& config, Communicator& ranks, int64_t first_step);

}  // namespace millrace
