// Ranks that communicate, and the collectives between them.
//
// All ranks of a group call the same collectives in the same order, from one thread at a time. Every call returns at
// once; the result is available after Work::wait(). The same inputs on the same number of ranks give the same bits in
// every run. For a group of one rank, collectives are the identity and move nothing.
#pragma once

#include <torch/types.h>

#include <array>
#include <functional>
#include <memory>
#include <string>

namespace millrace {

enum class Reduce { kSum, kMax };

// The traffic of a group, per kind of collective.
enum class Collective { kAllGather, kReduceScatter, kAllReduce, kBroadcast, kBarrier };
inline constexpr int kCollectives = 5;
const char* name_of(Collective kind);

struct TrafficCount {
  int64_t calls = 0;
  int64_t payload_bytes = 0;  // of the whole tensor: `full`, `inout`
  // Bytes that this rank sends on a ring of n ranks: (n-1)/n of the payload for all_gather and reduce_scatter, twice
  // that for all_reduce, (n-1)/n for broadcast (the mean over ranks).
  int64_t sent_bytes = 0;
};

struct Traffic {
  std::array<TrafficCount, kCollectives> kinds = {};
  const TrafficCount& operator[](Collective kind) const { return kinds[static_cast<size_t>(kind)]; }
  TrafficCount total() const;
};

// A pending collective. It keeps its tensors alive; the group finishes a Work that is dropped without wait().
class PendingWork;
class Work {
 public:
  Work() = default;  // done
  explicit Work(std::shared_ptr<PendingWork> pending) : pending_(std::move(pending)) {}
  // CPU: returns when the result is available. CUDA: orders the current stream after it. Throws PeerLostError, or the
  // error that a failed rank announced, when a rank is gone or the deadline (train_timeout) has passed.
  void wait();

 private:
  std::shared_ptr<PendingWork> pending_;
};

class Transport;

class Group {
 public:
  // ranks of the world, in the group's order. transport may be null for one rank.
  // check (may be empty) throws when the run has failed elsewhere; it is called before every collective.
  Group(std::string name, int rank, std::vector<int> ranks, std::shared_ptr<Transport> transport,
        std::function<void()> check = {});
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(ranks_.size()); }
  const std::string& name() const { return name_; }
  const std::vector<int>& ranks() const { return ranks_; }  // world ranks

  // Tensors are 1-D and contiguous, of one dtype, and must not be touched before wait().
  // full.numel() == size * shard.numel(); shard may be full's own part.
  Work all_gather(torch::Tensor full, const torch::Tensor& shard);
  // shard = this rank's part of the sum of all ranks' full. bfloat16 is summed in float32 and rounded once on the CPU.
  // shard may be full's own part (which is then overwritten).
  Work reduce_scatter(torch::Tensor shard, const torch::Tensor& full);
  // float32, float64, bfloat16, int32, int64; any shape, contiguous. Every rank gets the same bits.
  Work all_reduce(torch::Tensor inout, Reduce op = Reduce::kSum);
  Work broadcast(torch::Tensor inout, int root);  // root: rank in this group; any dtype and shape, contiguous
  void barrier();

  // Throws when the run has failed elsewhere. Do not trust the result of a GPU collective before calling this: wait()
  // does not wait for the device, and an aborted collective ends without an error.
  void check() const;

  const Traffic& traffic() const { return traffic_; }
  Transport* transport() const { return transport_.get(); }  // null for one rank

 private:
  void record(Collective kind, int64_t payload_bytes);
  void check_tensor(const torch::Tensor& tensor) const;

  std::string name_;
  int rank_ = 0;
  std::vector<int> ranks_;
  std::shared_ptr<Transport> transport_;
  std::function<void()> check_;
  Traffic traffic_;
};

}  // namespace millrace
