// The error for a step whose loss or gradients are not finite.
#pragma once

#include <cstdint>
#include <vector>

#include "checkpoint/peers.h"
#include "comm/communicator.h"
#include "optim/flat_group.h"
#include "train/step_totals.h"

namespace millrace {

// Throws NumericsError that names step, rank and parameter, the same on all ranks. Collective, at the same
// step.
[[noreturn]] void throw_numerics_error(int64_t step, const StepShare& share, const StepTotals& totals,
                                       const std::vector<FlatGroup>& groups, Communicator& ranks, Peers& peers);

}  // namespace millrace
