// How every command that works on many ranks begins and ends.
#pragma once

#include <functional>

#include "comm/communicator.h"

namespace millrace {

// Runs work() and says goodbye. What it throws the other ranks learn before this one leaves with it, unless they throw
// the same by themselves (Preempted, NumericsError).
void run_as_rank(Communicator& ranks, const std::function<void()>& work);

}  // namespace millrace
