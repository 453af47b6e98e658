#define USE_C10D_GLOO
#include "comm/gloo_transport.h"

#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <list>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/log.h"
#include "comm/c10d_work.h"
#include "comm/sum_parts.h"

namespace millrace {
namespace {

using C10dPointer = c10::intrusive_ptr<c10d::Work>;

// Only one thread at a time may use any of c10d's process groups: they all record their operations in one flight
// recorder per process, whose table of groups has no lock (torch 2.11; two groups' threads corrupted it when they
// collided).
std::mutex post_mutex;

// Sends and receives of one collective, which may be posted and waited for by different threads.
class Exchange {
 public:
  Exchange(c10::intrusive_ptr<c10d::ProcessGroupGloo> group, int tag) : group_(std::move(group)), tag_(tag) {}

  void send(const torch::Tensor& part, int to) {
    std::vector<at::Tensor> tensors = {part};
    const std::lock_guard lock(post_mutex);
    sends_.push_back(group_->send(tensors, to, tag_));
  }
  C10dPointer receive(const torch::Tensor& part, int from) {
    std::vector<at::Tensor> tensors = {part};
    const std::lock_guard lock(post_mutex);
    receives_.push_back(group_->recv(tensors, from, tag_));
    return receives_.back();
  }
  // Each may be waited for only once: a second wait for the same message never ends.
  void wait_for_receives() { wait(receives_); }
  void wait_for_sends() { wait(sends_); }
  void abort() {
    const std::lock_guard lock(post_mutex);
    for (const C10dPointer& work : sends_) work->abort();
    for (const C10dPointer& work : receives_) work->abort();
  }

 private:
  static void wait(const std::deque<C10dPointer>& works) {
    for (const C10dPointer& work : works) work->wait();
  }

  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
  int tag_;
  std::deque<C10dPointer> sends_;
  std::deque<C10dPointer> receives_;
};

// A composed collective.
class GlooWork : public PendingWork {
 public:
  GlooWork(std::unique_ptr<Exchange> exchange, const char* collective, FailureHandler on_failure)
      : exchange_(std::move(exchange)), collective_(collective), on_failure_(std::move(on_failure)) {}

  void wait() final {
    if (finished_) return;
    try {
      finish();
    } catch (const Error&) {
      throw;
    } catch (const std::exception& error) {
      on_failure_(collective_, error.what());
      throw;
    }
    finished_ = true;
  }
  bool finished() const { return finished_; }
  Exchange& exchange() { return *exchange_; }

 protected:
  virtual void finish() = 0;

 private:
  std::unique_ptr<Exchange> exchange_;
  const char* collective_;
  FailureHandler on_failure_;
  std::atomic<bool> finished_ = false;
};

class AllGather : public GlooWork {
 public:
  AllGather(std::unique_ptr<Exchange> exchange, const FailureHandler& on_failure, torch::Tensor full,
            torch::Tensor shard, int rank, int size)
      : GlooWork(std::move(exchange), "all_gather", on_failure), full_(std::move(full)), shard_(std::move(shard)) {
    const int64_t count = shard_.numel();
    auto part = [&](int index) { return full_.narrow(0, index * count, count); };
    for (int distance = 1; distance < size; ++distance) {
      const int from = (rank - distance + size) % size;
      this->exchange().receive(part(from), from);
    }
    for (int distance = 1; distance < size; ++distance) this->exchange().send(shard_, (rank + distance) % size);
    torch::Tensor own = part(rank);
    if (own.data_ptr() != shard_.data_ptr()) own.copy_(shard_);
  }

 private:
  void finish() override {
    exchange().wait_for_receives();
    exchange().wait_for_sends();
    full_.reset();
    shard_.reset();
  }
  torch::Tensor full_;
  torch::Tensor shard_;
};

// The transport's own thread sums the data of other ranks while training continues.
class ReduceScatter : public GlooWork {
 public:
  ReduceScatter(std::unique_ptr<Exchange> exchange, const FailureHandler& on_failure, torch::Tensor shard,
                torch::Tensor full, int rank, int size)
      : GlooWork(std::move(exchange), "reduce_scatter", on_failure),
        shard_(std::move(shard)),
        full_(std::move(full)),
        rank_(rank),
        size_(size) {
    const int64_t count = shard_.numel();
    for (int i = 0; i < std::min(2, size_ - 1); ++i) landing_[static_cast<size_t>(i)] = torch::empty_like(shard_);
    const bool sums_in_place = sum_dtype(shard_.scalar_type()) == shard_.scalar_type();
    sum_ = sums_in_place ? shard_ : torch::empty({count}, shard_.options().dtype(sum_dtype(shard_.scalar_type())));
    for (int distance = 1; distance <= std::min(2, size_ - 1); ++distance) receive(distance);
    for (int distance = 1; distance < size_; ++distance) {
      const int to = (rank_ + distance) % size_;
      this->exchange().send(full_.narrow(0, to * count, count), to);
    }
  }

  // On the transport's thread. The order of the sum depends on the rank only.
  void run() {
    std::exception_ptr failure;
    try {
      const int64_t count = shard_.numel();
      set_sum(sum_, full_.narrow(0, rank_ * count, count));
      for (int distance = 1; distance < size_; ++distance) {
        received_[slot(distance)]->wait();
        add_part(sum_, landing_[slot(distance)]);
        if (distance + 2 < size_) receive(distance + 2);
      }
      exchange().wait_for_sends();
      store_sum(shard_, sum_);
    } catch (...) {
      failure = std::current_exception();
    }
    for (torch::Tensor* tensor : {&shard_, &full_, &sum_, &landing_[0], &landing_[1]}) tensor->reset();
    {
      const std::lock_guard lock(mutex_);
      failure_ = failure;
      done_ = true;
    }
    changed_.notify_all();
  }

 private:
  static size_t slot(int distance) { return static_cast<size_t>(distance - 1) % 2; }
  void receive(int distance) {
    received_[slot(distance)] = exchange().receive(landing_[slot(distance)], (rank_ - distance + size_) % size_);
  }
  void finish() override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_; });
    if (failure_) std::rethrow_exception(failure_);
  }

  torch::Tensor shard_, full_, sum_;
  int rank_, size_;
  std::array<torch::Tensor, 2> landing_;
  std::array<C10dPointer, 2> received_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool done_ = false;
  std::exception_ptr failure_;
};

class GlooTransport : public Transport {
 public:
  GlooTransport(c10::intrusive_ptr<c10d::ProcessGroupGloo> group, FailureHandler on_failure)
      : group_(std::move(group)), on_failure_(std::move(on_failure)), adder_([this] { add_parts(); }) {}

  ~GlooTransport() override {
    abort();
    {
      const std::lock_guard lock(queue_mutex_);
      stopping_ = true;
    }
    queue_changed_.notify_all();
    adder_.join();
  }

  std::string kind() const override { return "gloo"; }

  std::shared_ptr<PendingWork> all_gather(torch::Tensor full, torch::Tensor shard) override {
    if (shard.numel() == 0) return nullptr;
    return guarded("all_gather", [&] {
      return keep(std::make_shared<AllGather>(next_exchange(), on_failure_, std::move(full), std::move(shard),
                                              group_->getRank(), group_->getSize()));
    });
  }

  std::shared_ptr<PendingWork> reduce_scatter(torch::Tensor shard, torch::Tensor full) override {
    MILLRACE_CHECK(can_sum(shard.scalar_type()));
    if (shard.numel() == 0) return nullptr;
    return guarded("reduce_scatter", [&] {
      auto work = std::make_shared<ReduceScatter>(next_exchange(), on_failure_, std::move(shard), std::move(full),
                                                  group_->getRank(), group_->getSize());
      {
        const std::lock_guard lock(queue_mutex_);
        queue_.push_back(work);
      }
      queue_changed_.notify_all();
      return keep(work);
    });
  }

  std::shared_ptr<PendingWork> all_reduce(torch::Tensor inout, Reduce op) override {
    c10d::AllreduceOptions options;
    options.reduceOp = op == Reduce::kSum ? c10d::ReduceOp::SUM : c10d::ReduceOp::MAX;
    return native("all_reduce", inout,
                  [&](std::vector<at::Tensor>& tensors) { return group_->allreduce(tensors, options); });
  }

  std::shared_ptr<PendingWork> broadcast(torch::Tensor inout, int root) override {
    c10d::BroadcastOptions options;
    options.rootRank = root;
    return native("broadcast", inout,
                  [&](std::vector<at::Tensor>& tensors) { return group_->broadcast(tensors, options); });
  }

  std::shared_ptr<PendingWork> barrier() override {
    return native("barrier", {}, [&](std::vector<at::Tensor>&) { return group_->barrier(); });
  }

  void set_timeout(double seconds) override {
    group_->setTimeout(std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000)));
  }
  void abort() override {
    std::list<std::shared_ptr<GlooWork>> in_flight;
    {
      const std::lock_guard lock(in_flight_mutex_);
      in_flight = in_flight_;
    }
    for (const auto& work : in_flight) {
      if (!work->finished()) work->exchange().abort();
    }
  }

 private:
  template <typename Start>
  std::shared_ptr<PendingWork> guarded(const char* collective, Start start) {
    try {
      return start();
    } catch (const Error&) {
      throw;
    } catch (const LogicError&) {
      throw;
    } catch (const std::exception& error) {
      on_failure_(collective, error.what());
      throw;
    }
  }

  template <typename Start>
  std::shared_ptr<PendingWork> native(const char* collective, const torch::Tensor& tensor, Start start) {
    return guarded(collective, [&] {
      std::vector<at::Tensor> tensors;
      if (tensor.defined()) tensors.push_back(tensor.view({-1}));
      const std::lock_guard lock(post_mutex);
      return std::make_shared<C10dWork>(start(tensors), tensors, collective, on_failure_);
    });
  }

  std::unique_ptr<Exchange> next_exchange() {
    tag_ = (tag_ + 1) & 0x3fffffff;
    return std::make_unique<Exchange>(group_, tag_);
  }

  std::shared_ptr<GlooWork> keep(std::shared_ptr<GlooWork> work) {
    const std::lock_guard lock(in_flight_mutex_);
    in_flight_.remove_if([](const auto& known) { return known->finished(); });
    in_flight_.push_back(work);
    return work;
  }

  void add_parts() {
    while (true) {
      std::shared_ptr<ReduceScatter> work;
      {
        std::unique_lock lock(queue_mutex_);
        queue_changed_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
        if (queue_.empty()) return;
        work = std::move(queue_.front());
        queue_.pop_front();
      }
      work->run();
    }
  }

  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
  FailureHandler on_failure_;
  int tag_ = 0;

  std::mutex in_flight_mutex_;
  std::list<std::shared_ptr<GlooWork>> in_flight_;

  std::mutex queue_mutex_;
  std::condition_variable queue_changed_;
  std::deque<std::shared_ptr<ReduceScatter>> queue_;
  bool stopping_ = false;
  std::thread adder_;  // last: it uses the other members
};

}  // namespace

std::shared_ptr<Transport> make_gloo_transport(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                               const std::string& address, double timeout, FailureHandler on_failure) {
  const auto milliseconds = std::chrono::milliseconds(static_cast<int64_t>(timeout * 1000));
  auto options = c10d::ProcessGroupGloo::Options::create(milliseconds);
  options->threads = 1;
  const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
  try {
    options->devices.push_back(interface != nullptr && *interface != '\0'
                                   ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                                   : c10d::ProcessGroupGloo::createDeviceForHostname(address));
    return std::make_shared<GlooTransport>(
        c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, size, std::move(options)), on_failure);
  } catch (const std::exception& error) {
    on_failure("connecting", error.what());
    throw;
  }
}

}  // namespace millrace
