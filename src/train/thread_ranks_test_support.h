// Threads as ranks that exchange real data, so that a test of many ranks needs no second process.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/communicator.h"
#include "comm/transport.h"

namespace millrace::testing {

// The meeting point where the ranks of a group exchange tensors.
class MeetingPoint {
 public:
  explicit MeetingPoint(size_t size) : tensors_(size) {}

  // Every rank gets the tensors of all, in the order of ranks.
  std::vector<torch::Tensor> exchange(int rank, const torch::Tensor& own) {
    std::unique_lock lock(mutex_);
    wait(lock, [&] { return !is_leaving_; });
    tensors_[static_cast<size_t>(rank)] = own.clone();
    if (++present_ == tensors_.size()) is_leaving_ = true;
    changed_.notify_all();
    wait(lock, [&] { return is_leaving_; });
    std::vector<torch::Tensor> all = tensors_;
    if (--present_ == 0) is_leaving_ = false;
    changed_.notify_all();
    return all;
  }

 private:
  template <typename Condition>
  void wait(std::unique_lock<std::mutex>& lock, const Condition& condition) {
    if (!changed_.wait_for(lock, std::chrono::seconds(60), condition))
      throw PeerLostError("[thread] expected all ranks");
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<torch::Tensor> tensors_;
  size_t present_ = 0;
  bool is_leaving_ = false;
};

class ThreadTransport : public Transport {
 public:
  ThreadTransport(std::shared_ptr<MeetingPoint> point, int rank) : point_(std::move(point)), rank_(rank) {}
  std::string kind() const override { return "threads"; }
  std::shared_ptr<PendingWork> all_gather(torch::Tensor full, torch::Tensor shard) override {
    full.copy_(torch::cat(point_->exchange(rank_, shard)));
    return nullptr;
  }
  std::shared_ptr<PendingWork> reduce_scatter(torch::Tensor shard, torch::Tensor full) override {
    shard.copy_(torch::stack(point_->exchange(rank_, full)).sum(0).narrow(0, rank_ * shard.numel(), shard.numel()));
    return nullptr;
  }
  std::shared_ptr<PendingWork> all_reduce(torch::Tensor inout, Reduce op) override {
    const torch::Tensor all = torch::stack(point_->exchange(rank_, inout));
    inout.copy_(op == Reduce::kSum ? all.sum(0) : all.amax(0));
    return nullptr;
  }
  std::shared_ptr<PendingWork> broadcast(torch::Tensor inout, int root) override {
    inout.copy_(point_->exchange(rank_, inout).at(static_cast<size_t>(root)));
    return nullptr;
  }
  std::shared_ptr<PendingWork> barrier() override {
    point_->exchange(rank_, torch::zeros({1}));
    return nullptr;
  }

 private:
  std::shared_ptr<MeetingPoint> point_;
  int rank_;
};

// State shared by the threads.
struct ThreadWorld {
  MeshShape shape;
  std::unique_ptr<Store> store = make_local_store();
  std::mutex mutex;
  std::map<std::vector<int>, std::shared_ptr<MeetingPoint>> points;

  std::shared_ptr<MeetingPoint> point_of(const std::vector<int>& ranks) {
    const std::lock_guard lock(mutex);
    std::shared_ptr<MeetingPoint>& point = points[ranks];
    if (!point) point = std::make_shared<MeetingPoint>(ranks.size());
    return point;
  }
};

class SharedStore : public Store {
 public:
  explicit SharedStore(Store& store) : store_(store) {}
  void set(const std::string& key, const std::string& value) override { store_.set(key, value); }
  std::string get(const std::string& key, double seconds) override { return store_.get(key, seconds); }
  bool has(const std::string& key) override { return store_.has(key); }
  void remove(const std::string& key) override { store_.remove(key); }

 private:
  Store& store_;
};

class ThreadCommunicator : public Communicator {
 public:
  ThreadCommunicator(ThreadWorld& world, int rank) {
    world_.rank = rank;
    world_.size = world.shape.size();
    world_.local_rank = rank;
    world_.local_size = world_.size;
    world_.launcher = "threads";
    world_.host = "here";
    transport_ = "threads";
    store_ = std::make_unique<SharedStore>(*world.store);
    watch_ = std::make_unique<NoWatch>();
    mesh_ =
        std::make_unique<Mesh>(world.shape, rank, world_.size, [&](const std::vector<int>& ranks, const std::string&) {
          const auto own = std::find(ranks.begin(), ranks.end(), rank) - ranks.begin();
          return std::make_shared<ThreadTransport>(world.point_of(ranks), static_cast<int>(own));
        });
  }
};

// Runs the action as every rank of the mesh, each on its own thread.
inline void run_thread_ranks(const MeshShape& shape, const std::function<void(Communicator& ranks)>& action) {
  ThreadWorld world{.shape = shape};
  std::vector<std::thread> threads;
  for (int rank = 0; rank < shape.size(); ++rank) {
    threads.emplace_back([&, rank] {
      ThreadCommunicator ranks(world, rank);
      action(ranks);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace millrace::testing
