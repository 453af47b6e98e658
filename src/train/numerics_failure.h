// The error for a step whose loss or gradients are not finite.
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/peers.h"
#include "comm/communicator.h"
#include "optim/flat_group.h"
#include "train/step_totals.h"
#include "train/task.h"

namespace millrace {

// Throws NumericsError that names step, rank and parameter, the same on all ranks. Collective, at the same
// step. Where a loss is not finite, on whichever rank, the first rank of each machine, with all its threads, reads the
// task's weight files as that machine has them, to name the file and tensor that is the cause, if one is.
[[noreturn]] void throw_numerics_error(int64_t step, const StepShare& share, const StepTotals& totals, const Task& task,
                                       const std::vector<FlatGroup>& groups, Communicator& ranks, Peers& peers);

}  // namespace millrace
