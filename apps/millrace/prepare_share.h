// How a prepare command is divided: over threads here, and over ranks if several were launched.
#pragma once

#include "prepare/unit_run.h"
#include "progress_bar.h"

namespace millrace {

// num_workers: threads of this process; 0: this process's share of the machine's cores. Throws ConfigError for a
// negative number, or a launcher's environment that contradicts itself.
UnitShare prepare_share(int num_workers);

// Draws the bar, on the first rank only.
PrepareProgress show_progress(const UnitShare& share, ProgressBar& bar);

}  // namespace millrace
