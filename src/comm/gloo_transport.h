// Collectives of CPU tensors over TCP, by c10d's Gloo process group.
//
// all_gather and reduce_scatter are composed of its sends and receives: each rank exchanges its parts with every other
// directly, into and out of the tensors themselves. (c10d's own versions copy the whole tensor and, for reduce_scatter,
// send twice as much.) Parts are summed in the same order in every run.
#pragma once

#include <torch/csrc/distributed/c10d/Store.hpp>

#include <memory>
#include <string>

#include "comm/transport.h"

namespace millrace {

// address: numeric, where the other ranks reach this machine; GLOO_SOCKET_IFNAME overrides it. store: used by this
// group alone. timeout: seconds that one collective may take.
std::shared_ptr<Transport> make_gloo_transport(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                               const std::string& address, double timeout, FailureHandler on_failure);

}  // namespace millrace
