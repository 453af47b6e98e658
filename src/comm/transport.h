// Moves the bytes of a group: by Gloo, by NCCL, or not at all (fake). Groups of the same ranks share one.
#pragma once

#include <torch/types.h>

#include <memory>
#include <string>
#include <vector>

#include "comm/group.h"

namespace millrace {

class PendingWork {
 public:
  virtual ~PendingWork() = default;
  virtual void wait() = 0;  // throws; may be called again
};

// Arguments have been checked by Group: contiguous, equal dtypes, sizes that fit.
class Transport {
 public:
  virtual ~Transport() = default;
  virtual std::string kind() const = 0;  // "gloo", "nccl", "fake"
  virtual std::shared_ptr<PendingWork> all_gather(torch::Tensor full, torch::Tensor shard) = 0;
  virtual std::shared_ptr<PendingWork> reduce_scatter(torch::Tensor shard, torch::Tensor full) = 0;
  virtual std::shared_ptr<PendingWork> all_reduce(torch::Tensor inout, Reduce op) = 0;
  virtual std::shared_ptr<PendingWork> broadcast(torch::Tensor inout, int root) = 0;
  virtual std::shared_ptr<PendingWork> barrier() = 0;
  // Makes pending collectives fail, where possible; called from another thread when the run has failed.
  virtual void abort() {}
  // abort() of all these, which are of this one's kind.
  virtual void abort_all(const std::vector<std::shared_ptr<Transport>>& all) {
    for (const std::shared_ptr<Transport>& transport : all) transport->abort();
  }
  // Seconds that a collective started from now on may take.
  virtual void set_timeout(double /*seconds*/) {}
};

// Throws the right exception for a failed collective, given its name and the library's message; never
// returns.
using FailureHandler = std::function<void(const std::string& collective, const std::string& what)>;

// all_gather copies this rank's shard into place; no other operation does anything. Accepts meta tensors.
std::shared_ptr<Transport> make_fake_transport(int rank);

}  // namespace millrace
