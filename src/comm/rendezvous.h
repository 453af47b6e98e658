// Connects the processes of a run into a Communicator.
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace millrace {

// connect() for more than one rank.
std::shared_ptr<Communicator> connect_ranks(const World& world, const CommOptions& options);

}  // namespace millrace
