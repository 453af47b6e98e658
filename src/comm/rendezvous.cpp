#include "comm/rendezvous.h"

#include <unistd.h>

#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <algorithm>
#include <csignal>
#include <exception>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/gloo_transport.h"
#include "comm/nccl_environment.h"
#include "comm/nccl_transport.h"
#include "comm/shared_store.h"
#include "comm/transport.h"
#include "comm/watch_client.h"
#include "comm/watch_server.h"

namespace millrace {
namespace {

using StorePointer = c10::intrusive_ptr<c10d::Store>;

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
}

StorePointer open_store(const std::string& host, int port, bool is_server, double timeout) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(port);
  options.isServer = is_server;
  options.waitWorkers = false;
  options.timeout = milliseconds(timeout);
  try {
    return c10::make_intrusive<c10d::TCPStore>(host, options);
  } catch (const std::exception& error) {
    const std::string what = error.what();
    throw PeerLostError(
        str("[store on ", host, ":", port, "] expected a connection, got: ", what.substr(0, what.find('\n'))));
  }
}

// The key in torchrun's store for rank 0's port in this attempt of the job.
std::string port_key(const World& world) {
  return "millrace/" + world.job_id + "/port";
}

Listener open_listener(const World& world, double timeout) {
  if (world.agent_store) {
    auto listener = Listener::open(0);
    if (!listener) throw PeerLostError("[rendezvous] expected a free port, got none");
    const std::string port = std::to_string(listener->port());
    open_store(world.master_host, world.master_port, false, timeout)
        ->set(port_key(world), std::vector<uint8_t>(port.begin(), port.end()));
    return std::move(*listener);
  }
  for (int i = 0; i < world.master_port_count; ++i) {
    if (auto listener = Listener::open(world.master_port + i)) return std::move(*listener);
  }
  throw PeerLostError(str("[MASTER_PORT] expected port ", world.master_port, " of ", world.host,
                          " to be free, got one that is in use (try another MASTER_PORT)"));
}

int published_port(const World& world, double timeout) {
  const StorePointer store = open_store(world.master_host, world.master_port, false, timeout);
  try {
    store->wait({port_key(world)}, milliseconds(timeout));
    const std::vector<uint8_t> port = store->get(port_key(world));
    return std::stoi(std::string(port.begin(), port.end()));
  } catch (const std::exception&) {
    throw PeerLostError(str(rank_label(world.rank, world.host, -1), " expected rank 0 within ", timeout,
                            " s, got none: it has published no port in the store on ", world.master_host, ":",
                            world.master_port));
  }
}

class RankCommunicator : public Communicator {
 public:
  RankCommunicator(const World& world, const CommOptions& options)
      : options_(options),
        exceptions_(std::uncaught_exceptions()),
        timeout_(std::max(options.init_timeout, options.train_timeout)) {
    MILLRACE_CHECK(options.shape.size() == world.size);
    world_ = world;
    const Hello hello = {.job_id = world.job_id,
                         .rank = world.rank,
                         .size = world.size,
                         .host = world.host,
                         .pid = ::getpid(),
                         .version = options.version,
                         .mesh = to_string(options.shape),
                         .fingerprint = options.fingerprint};
    if (world.rank == 0) {
      lead(hello);
    } else {
      follow(hello);
    }
    store_ = make_shared_store(c10d_store_, *watch_);
    device_ = options.device;
    if (options.open_device) open_device();
    const std::string usual = device_.is_cuda() ? "nccl" : "gloo";
    transport_ = options.backend == "auto" ? usual : options.backend;
    if (transport_ != usual) {
      throw ConfigError(
          str("[comm.backend] expected ", usual, " for tensors on ", device_.str(), ", got ", transport_));
    }
    mesh_ = std::make_unique<Mesh>(
        options.shape, world.rank, world.size,
        [this](const std::vector<int>& ranks, const std::string& name) { return make_transport(ranks, name); },
        [this] { watch_->check(); });
    end().set_abort([this] {
      if (!transports_.empty()) transports_.front()->abort_all(transports_);
    });
  }

  ~RankCommunicator() override {
    try {
      if (std::uncaught_exceptions() == exceptions_) leave();
    } catch (const std::exception&) {
      // Printed by the watch, which also ends the process.
    }
    watch_.reset();  // its thread may use the groups
    mesh_.reset();   // and they use the store, which goes last
    transports_.clear();
  }

  void use_train_timeout() override {
    timeout_ = options_.train_timeout;
    for (const std::shared_ptr<Transport>& transport : transports_) transport->set_timeout(timeout_);
  }

  void leave() override {
    if (std::exchange(has_left_, true)) return;
    if (client_ != nullptr) client_->leave();
    if (server_ != nullptr) server_->leave(options_.train_timeout);
    watch_->check();
  }

 private:
  void lead(const Hello& hello) {
    c10d_store_ = open_store("127.0.0.1", 0, true, options_.init_timeout);
    const int store_port = static_cast<c10d::TCPStore&>(*c10d_store_).getPort();
    auto server = std::make_unique<WatchServer>(
        open_listener(world_, options_.init_timeout), hello,
        WatchServer::Options{
            .init_timeout = options_.init_timeout, .train_timeout = options_.train_timeout, .store_port = store_port});
    address_ = server->gather();
    server_ = server.get();
    watch_ = std::move(server);
  }

  void follow(const Hello& hello) {
    const double timeout = options_.init_timeout;
    const int port = world_.agent_store ? published_port(world_, timeout) : world_.master_port;
    Go go = join(world_.master_host, port, world_.agent_store ? 1 : world_.master_port_count, hello, timeout);
    address_ = go.address;
    auto client = std::make_unique<WatchClient>(std::move(go.socket), hello, go.rank_0_host, options_.train_timeout);
    client_ = client.get();
    watch_ = std::move(client);
    c10d_store_ = open_store(go.rank_0_address, go.store_port, false, timeout);
  }

  // Every rank opens its device and waits for the others, watched, for as long as it may take to load a GPU's libraries
  // from a slow disk. A rank that fails tells the others.
  void open_device() {
    constexpr double kPatience = 1800;  // seconds
    const auto key = [](int rank) { return str("device/", rank); };
    try {
      device_ = options_.open_device();
      store_->set(key(world_.rank), device_.is_cuda() ? "cuda" : "cpu");
      if (world_.rank != 0) {
        store_->get("devices", kPatience);
        return;
      }
      const std::string own = store_->get(key(0), kPatience);
      for (int rank = 1; rank < world_.size; ++rank) {
        const std::string other = store_->get(key(rank), kPatience);
        if (other != own) {
          throw ConfigError(str("[training.device] expected devices of one type on all ranks, got ", own,
                                " on rank 0 and ", other, " on rank ", rank));
        }
      }
      store_->set("devices", "open");
    } catch (const std::exception& error) {
      const auto* known = dynamic_cast<const Error*>(&error);
      if (!Watch::was_printed(error.what())) {
        watch_->announce_failure(error.what(), known != nullptr ? static_cast<int>(known->code()) : 1);
      }
      throw;
    }
  }

  EndOfRun& end() { return client_ != nullptr ? client_->end() : server_->end(); }

  std::shared_ptr<Transport> make_transport(const std::vector<int>& ranks, const std::string& name) {
    const int rank = static_cast<int>(std::find(ranks.begin(), ranks.end(), world_.rank) - ranks.begin());
    const int size = static_cast<int>(ranks.size());
    const StorePointer store =
        c10::make_intrusive<c10d::PrefixStore>(str("group/", name, "/", ranks.front()), c10d_store_->clone());
    auto on_failure = [this, name](const std::string& collective, const std::string& what) {
      explain(collective + " on " + name, what);
    };
    transports_.push_back(transport_ == "nccl"
                              ? make_nccl_transport(store, rank, size, device_, name, timeout_, on_failure)
                              : make_gloo_transport(store, rank, size, address_, timeout_, on_failure));
    return transports_.back();
  }

  // A collective has failed, most likely because a rank is lost, which the watch learns at the same time.
  void explain(const std::string& where, const std::string& what) {
    constexpr double kPatience = 2;  // seconds
    end().wait(kPatience);
    watch_->check();
    const std::string first_line = what.substr(0, what.find('\n'));
    throw PeerLostError("[" + where + "] expected all ranks to take part within " + format_double("%.0f", timeout_) +
                        " s, got: " + first_line);
  }

  CommOptions options_;
  int exceptions_;
  double timeout_;  // of a collective
  bool has_left_ = false;
  StorePointer c10d_store_;
  std::string address_;
  WatchServer* server_ = nullptr;  // watch_, on rank 0
  WatchClient* client_ = nullptr;  // watch_, on all others
  std::vector<std::shared_ptr<Transport>> transports_;
};

}  // namespace

std::shared_ptr<Communicator> connect_ranks(const World& world, const CommOptions& options) {
  // Gloo writes to its sockets plainly: to one whose rank is lost, that would end this process without a word.
  std::signal(SIGPIPE, SIG_IGN);
  if (options.open_device || options.device.is_cuda()) set_nccl_environment(options.allow_nvls);
  return std::make_shared<RankCommunicator>(world, options);
}

}  // namespace millrace
