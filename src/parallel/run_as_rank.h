// Start and end of every command that works on many ranks.
#pragma once

#include <functional>

#include "comm/communicator.h"

namespace millrace {

// Runs work() and says goodbye. If work() throws, the other ranks are told before this one exits, unless they throw the
// same error themselves (Preempted, NumericsError).
void run_as_rank(Communicator& ranks, const std::function<void()>& work);

}  // namespace millrace
