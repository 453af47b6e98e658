// Who does which part of a prepare command: threads here, and other ranks where several were launched.
#pragma once

#include "prepare/unit_run.h"
#include "progress_bar.h"

namespace millrace {

// num_workers: threads of this process; 0: this process's share of the machine's cores. Throws ConfigError for a
// negative number, or a launcher's environment that contradicts itself.
UnitShare prepare_share(int num_workers);

// What draws the bar, on the first rank alone.
PrepareProgress show_progress(const UnitShare& share, ProgressBar& bar);

}  // namespace millrace
