// The Store that rank 0 keeps for all ranks.
#pragma once

#include <torch/csrc/distributed/c10d/Store.hpp>

#include <memory>

#include "comm/store.h"
#include "comm/watch.h"

namespace millrace {

// watch must outlive the store; waits end early when watch reports a failure.
std::unique_ptr<Store> make_shared_store(c10::intrusive_ptr<c10d::Store> store, Watch& watch);

}  // namespace millrace
