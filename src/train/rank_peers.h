// Agreement between ranks outside of steps, through the run's store.
#pragma once

#include <torch/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "checkpoint/peers.h"
#include "comm/communicator.h"

namespace millrace {

// The ranks of the run, for checkpoints and for the functions below. The communicator must outlive it.
std::shared_ptr<Peers> make_peers(Communicator& communicator);

// The first rank's answer, for all ranks.
bool ask_first_rank(Peers& peers, const std::string& topic, const std::function<bool()>& question);

// Returns, on all ranks, the message of the first rank whose own is not empty, or "" if all are empty. If own
// throws on any rank, all ranks throw.
std::string first_message(Peers& peers, const std::string& topic, const std::function<std::string()>& own);
std::string first_message(Peers& peers, const std::string& topic, const std::string& own);

// Throws ModelError, the same on every rank, when ranks read different weight files or replicas hold different
// weights. files_fingerprint reads a part of the files: it is called where there are other ranks.
void check_equal_weights(Peers& peers, Communicator& communicator, const std::function<uint64_t()>& files_fingerprint,
                         const torch::Tensor& weights);

}  // namespace millrace
