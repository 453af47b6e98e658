// What ranks must agree on outside the steps, through the store that the run keeps for such things.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "checkpoint/peers.h"
#include "comm/communicator.h"

namespace millrace {

// The ranks of the run, for checkpoints and for the functions below. The communicator must live as long.
std::shared_ptr<Peers> make_peers(Communicator& communicator);

// The first rank's answer, for all ranks.
bool ask_first_rank(Peers& peers, const std::string& topic, const std::function<bool()>& question);

// All ranks get the message of the first rank whose own is not empty, or "" when all are. What making the own one
// throws, all throw.
std::string first_message(Peers& peers, const std::string& topic, const std::function<std::string()>& own);
std::string first_message(Peers& peers, const std::string& topic, const std::string& own);

// Throws ModelError, the same on every rank, when ranks read different files of weights or replicas differ in the
// weights they hold.
void check_equal_weights(Peers& peers, Communicator& communicator, uint64_t files_fingerprint,
                         const torch::Tensor& weights);

}  // namespace millrace
