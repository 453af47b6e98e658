#include "comm/group.h"

#include "base/error.h"
#include "comm/transport.h"

namespace millrace {

const char* name_of(Collective kind) {
  constexpr std::array names = {"all_gather", "reduce_scatter", "all_reduce", "broadcast", "barrier"};
  return names[static_cast<size_t>(kind)];
}

TrafficCount Traffic::total() const {
  TrafficCount sum;
  for (const TrafficCount& count : kinds) {
    sum.calls += count.calls;
    sum.payload_bytes += count.payload_bytes;
    sum.sent_bytes += count.sent_bytes;
  }
  return sum;
}

void Work::wait() {
  if (!pending_) return;
  pending_->wait();
  pending_.reset();
}

Group::Group(std::string name, int rank, std::vector<int> ranks, std::shared_ptr<Transport> transport,
             std::function<void()> check)
    : name_(std::move(name)),
      rank_(rank),
      ranks_(std::move(ranks)),
      transport_(std::move(transport)),
      check_(std::move(check)) {
  MILLRACE_CHECK(rank_ >= 0 && rank_ < size());
  MILLRACE_CHECK(transport_ != nullptr || size() == 1);
}

Group::~Group() = default;

void Group::check() const {
  if (check_) check_();
}

void Group::record(Collective kind, int64_t payload_bytes) {
  check();
  const int64_t once = payload_bytes * (size() - 1) / size();
  TrafficCount& count = traffic_.kinds[static_cast<size_t>(kind)];
  ++count.calls;
  count.payload_bytes += payload_bytes;
  count.sent_bytes += kind == Collective::kAllReduce ? 2 * once : once;
}

void Group::check_tensor(const torch::Tensor& tensor) const {
  MILLRACE_CHECK(tensor.defined() && tensor.is_contiguous());
}

Work Group::all_gather(torch::Tensor full, const torch::Tensor& shard) {
  check_tensor(full);
  check_tensor(shard);
  MILLRACE_CHECK(full.dim() == 1 && shard.dim() == 1 && full.scalar_type() == shard.scalar_type());
  MILLRACE_CHECK(full.numel() == size() * shard.numel());
  if (size() == 1) {
    if (!full.is_meta() && full.data_ptr() != shard.data_ptr()) full.copy_(shard);
    return {};
  }
  record(Collective::kAllGather, static_cast<int64_t>(full.nbytes()));
  return Work(transport_->all_gather(std::move(full), shard));
}

Work Group::reduce_scatter(torch::Tensor shard, const torch::Tensor& full) {
  check_tensor(full);
  check_tensor(shard);
  MILLRACE_CHECK(full.dim() == 1 && shard.dim() == 1 && full.scalar_type() == shard.scalar_type());
  MILLRACE_CHECK(full.numel() == size() * shard.numel());
  if (size() == 1) {
    if (!full.is_meta() && full.data_ptr() != shard.data_ptr()) shard.copy_(full);
    return {};
  }
  record(Collective::kReduceScatter, static_cast<int64_t>(full.nbytes()));
  return Work(transport_->reduce_scatter(std::move(shard), full));
}

Work Group::all_reduce(torch::Tensor inout, Reduce op) {
  check_tensor(inout);
  if (size() == 1) return {};
  record(Collective::kAllReduce, static_cast<int64_t>(inout.nbytes()));
  return Work(transport_->all_reduce(std::move(inout), op));
}

Work Group::broadcast(torch::Tensor inout, int root) {
  check_tensor(inout);
  MILLRACE_CHECK(root >= 0 && root < size());
  if (size() == 1) return {};
  record(Collective::kBroadcast, static_cast<int64_t>(inout.nbytes()));
  return Work(transport_->broadcast(std::move(inout), root));
}

void Group::barrier() {
  if (size() == 1) return;
  record(Collective::kBarrier, 0);
  Work(transport_->barrier()).wait();
}

}  // namespace millrace
