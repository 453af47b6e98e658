#include "comm/watch_server.h"

#include <poll.h>

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr double kServerTick = 0.1;         // seconds between two looks at the clock
constexpr double kServerSendSeconds = 0.2;  // for one line to one rank
constexpr double kProblemPatience = 20;  // seconds for the other ranks to connect, so that they learn of a difference

}  // namespace

WatchServer::WatchServer(Listener listener, Hello rank_0, const Options& options)
    : listener_(std::move(listener)), rank_0_(std::move(rank_0)), options_(options) {
  started_ = now_seconds();
  give_up_at_ = started_ + options_.init_timeout;
  thread_ = std::thread([this] { run(); });
}

WatchServer::~WatchServer() {
  stopping_ = true;
  thread_.join();
}

std::string WatchServer::gather() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return phase_ != Phase::kGathering; });
  if (phase_ == Phase::kFailed) throw_error(static_cast<ExitCode>(failure_code_), failure_);
  return address_;
}

void WatchServer::leave(double seconds) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::duration<double>(seconds),
                    [&] { return all_gone_ || phase_ == Phase::kFailed; });
}

void WatchServer::announce_failure(const std::string& message, int exit_code) {
  {
    const std::lock_guard lock(mutex_);
    announced_ = message;
    announced_code_ = exit_code;
    has_announced_ = true;
  }
  end_.wait(5);
}

WatchServer::Peer* WatchServer::rank(int number) {
  for (const auto& peer : peers_) {
    if (peer->known && peer->hello.rank == number) return peer.get();
  }
  return nullptr;
}

void WatchServer::run() {
  double last_look = now_seconds();
  while (!stopping_) {
    std::vector<pollfd> entries = {{.fd = listener_.fd(), .events = POLLIN, .revents = 0}};
    for (const auto& peer : peers_) entries.push_back({.fd = peer->socket.fd(), .events = POLLIN, .revents = 0});
    ::poll(entries.data(), entries.size(), static_cast<int>(kServerTick * 1000));

    const double now = now_seconds();
    if (now - last_look > kWasAsleep) {
      for (const auto& peer : peers_) peer->last_sign += now - last_look;
      give_up_at_ += now - last_look;
    }
    last_look = now;

    const size_t count = peers_.size();
    if (entries[0].revents != 0) accept_new();
    for (size_t i = 0; i < count; ++i) {
      if (entries[i + 1].revents != 0) read(*peers_[i]);
    }
    check_heartbeats(now);
    if (phase_ == Phase::kGathering) check_rendezvous(now);

    std::erase_if(peers_, [](const auto& peer) { return peer->socket.closed() && (peer->gone || !peer->known); });
    bool announced = false;
    {
      const std::lock_guard lock(mutex_);
      announced = std::exchange(has_announced_, false);
    }
    if (announced) {
      fail(rank_label(0, rank_0_.host, step_) + " failed: " + announced_, announced_code_, announced_);
    }
    if (phase_ == Phase::kRunning &&
        std::all_of(peers_.begin(), peers_.end(), [](const auto& peer) { return peer->gone; })) {
      const std::lock_guard lock(mutex_);
      all_gone_ = true;
      changed_.notify_all();
    }
  }
}

void WatchServer::accept_new() {
  while (auto socket = listener_.accept()) {
    peers_.push_back(std::make_unique<Peer>(Peer{.socket = std::move(*socket), .last_sign = now_seconds()}));
  }
}

void WatchServer::read(Peer& peer) {
  for (const std::string& line : peer.socket.receive()) {
    peer.last_sign = now_seconds();
    if (!peer.known) {
      take_hello(peer, line);
      continue;
    }
    const nlohmann::json message = parse_message(line);
    peer.step = number_of(message, "beat", peer.step);
    if (message.contains("goodbye")) peer.gone = true;
    if (message.contains("failed")) {
      peer.step = number_of(message, "step", peer.step);
      fail(rank_label(peer.hello.rank, peer.hello.host, peer.step) + " failed: " + text_of(message, "failed"),
           static_cast<int>(number_of(message, "code", 1)));
    }
  }
  if (peer.socket.closed() && peer.known && !peer.gone && phase_ != Phase::kFailed) {
    const std::string label = rank_label(peer.hello.rank, peer.hello.host, peer.step);
    fail(label + " lost: its connection closed (it was killed or crashed; see its own log)",
         static_cast<int>(ExitCode::kPeerLost));
  }
}

void WatchServer::take_hello(Peer& peer, const std::string& line) {
  const auto hello = parse_hello(line);
  if (!hello || hello->job_id != rank_0_.job_id) {
    peer.socket.send(kRefusalLine, kServerSendSeconds);
    peer.socket.shutdown_send();
    return;
  }
  if (phase_ == Phase::kFailed) {  // too late for this attempt, but in time for its end
    peer.socket.send(failure_line(failure_, failure_code_, -1), kServerSendSeconds);
    return;
  }
  const Peer* known = rank(hello->rank);
  peer.hello = *hello;
  const std::string label = rank_label(hello->rank, hello->host, -1);
  if (hello->rank < 1 || hello->rank >= rank_0_.size || phase_ == Phase::kRunning || known != nullptr) {
    peer.known = false;
    const std::string other =
        known != nullptr ? str(" (rank ", hello->rank, " is process ", known->hello.pid, " on ", known->hello.host, ")")
                         : str(" of ", rank_0_.size, " ranks");
    const std::string message = label + " expected to be one" + other + ", got process " + std::to_string(hello->pid);
    peer.socket.send(failure_line(message, static_cast<int>(ExitCode::kConfig), -1), kServerSendSeconds);
    if (phase_ == Phase::kGathering && problem_.empty()) problem_ = message;
    return;
  }
  peer.known = true;
  peer.socket.send(kWelcomeLine, kServerSendSeconds);
  const std::string differs = difference(rank_0_, *hello);
  if (!differs.empty() && problem_.empty()) {
    problem_ = label + " " + differs;
    give_up_at_ = std::min(give_up_at_, now_seconds() + kProblemPatience);
  }
}

void WatchServer::check_heartbeats(double now) {
  const bool beat = now - last_beat_ >= kBeatEvery;
  if (beat) last_beat_ = now;
  for (const auto& peer : peers_) {
    if (!peer->known || peer->gone || peer->socket.closed()) continue;
    if (beat) peer->socket.send(beat_line(step_), 0);
    if (phase_ == Phase::kRunning && now - peer->last_sign > options_.train_timeout) {
      fail(rank_label(peer->hello.rank, peer->hello.host, peer->step) + " lost: no sign of life for " +
               format_double("%.0f", options_.train_timeout) + " s (it is stopped, or its machine cannot be reached)",
           static_cast<int>(ExitCode::kPeerLost));
      return;
    }
  }
}

std::string WatchServer::missing_ranks() const {
  constexpr size_t kNamed = 16;
  std::vector<std::string> missing;
  for (int number = 1; number < rank_0_.size; ++number) {
    const bool there = std::any_of(peers_.begin(), peers_.end(),
                                   [&](const auto& peer) { return peer->known && peer->hello.rank == number; });
    if (!there) missing.push_back(std::to_string(number));
  }
  const size_t all = missing.size();
  if (all > kNamed) {
    missing.resize(kNamed);
    missing.push_back(str("and ", all - kNamed, " others"));
  }
  return join(missing, ", ");
}

void WatchServer::check_rendezvous(double now) {
  const auto there = std::count_if(peers_.begin(), peers_.end(), [](const auto& peer) { return peer->known; }) + 1;
  if (there == rank_0_.size && problem_.empty()) {
    send_go();
  } else if (there == rank_0_.size || (now >= give_up_at_ && !problem_.empty())) {
    fail(problem_, static_cast<int>(ExitCode::kConfig));
  } else if (now >= give_up_at_) {
    fail(str("[rendezvous on ", rank_0_.host, "] expected ", rank_0_.size, " ranks within ", options_.init_timeout,
             " s, got ", there, "; missing: rank ", missing_ranks(),
             " (try comm.init_timeout_seconds if they start late)"),
         static_cast<int>(ExitCode::kPeerLost));
  }
}

void WatchServer::send_go() {
  // Ranks on this machine may have connected over the loopback interface, where other machines cannot reach them: they
  // listen at the address by which other machines reach this one.
  std::string outward;
  for (const auto& peer : peers_) {
    if (peer->known && !is_loopback(peer->socket.peer_address())) outward = peer->socket.local_address();
  }
  for (const auto& peer : peers_) {
    if (!peer->known) continue;
    const std::string address = peer->socket.peer_address();
    const bool unreachable = !outward.empty() && is_loopback(address);
    peer->socket.send(go_line(options_.store_port, unreachable ? outward : address, rank_0_.host), kServerSendSeconds);
    peer->last_sign = now_seconds();
  }
  const std::lock_guard lock(mutex_);
  address_ = outward.empty() ? "127.0.0.1" : outward;
  phase_ = Phase::kRunning;
  changed_.notify_all();
}

void WatchServer::fail(const std::string& message, int exit_code, const std::string& also_known_as) {
  if (phase_ == Phase::kFailed) return;
  const std::string line = failure_line(message, exit_code, -1);
  for (const auto& peer : peers_) {
    if (peer->known && !peer->gone && !peer->socket.closed()) peer->socket.send(line, kServerSendSeconds);
  }
  const bool was_running = phase_ == Phase::kRunning;
  {
    const std::lock_guard lock(mutex_);
    failure_ = message;
    failure_code_ = exit_code;
    phase_ = Phase::kFailed;
  }
  changed_.notify_all();
  if (was_running) end_.begin(message, exit_code, also_known_as);
}

}  // namespace millrace
