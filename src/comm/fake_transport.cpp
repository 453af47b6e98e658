#include "comm/transport.h"

namespace millrace {
namespace {

class FakeTransport : public Transport {
 public:
  explicit FakeTransport(int rank) : rank_(rank) {}
  std::string kind() const override { return "fake"; }
  std::shared_ptr<PendingWork> all_gather(torch::Tensor full, torch::Tensor shard) override {
    if (full.is_meta() || shard.is_meta()) return nullptr;
    const torch::Tensor own = full.narrow(0, rank_ * shard.numel(), shard.numel());
    if (own.data_ptr() != shard.data_ptr()) own.copy_(shard);
    return nullptr;
  }
  std::shared_ptr<PendingWork> reduce_scatter(torch::Tensor shard, torch::Tensor full) override {
    if (full.is_meta() || shard.is_meta()) return nullptr;
    const torch::Tensor own = full.narrow(0, rank_ * shard.numel(), shard.numel());
    if (own.data_ptr() != shard.data_ptr()) shard.copy_(own);
    return nullptr;
  }
  std::shared_ptr<PendingWork> all_reduce(torch::Tensor, Reduce) override { return nullptr; }
  std::shared_ptr<PendingWork> broadcast(torch::Tensor, int) override { return nullptr; }
  std::shared_ptr<PendingWork> barrier() override { return nullptr; }

 private:
  int rank_;
};

}  // namespace

std::shared_ptr<Transport> make_fake_transport(int rank) {
  return std::make_shared<FakeTransport>(rank);
}

}  // namespace millrace
