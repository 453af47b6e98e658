#include "comm/watch_client.h"

#include <algorithm>
#include <thread>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

constexpr double kClientTick = 0.2;    // seconds
constexpr double kConnectSeconds = 3;  // for one try at one port
constexpr double kClientSendSeconds = 1;
constexpr double kAfterDeadline = 25;  // seconds for rank 0 to report a problem after its own deadline

// A connection on which rank 0 of this job has accepted the hello.
std::optional<LineSocket> try_port(const std::string& host, int port, const Hello& hello, std::string& why_not) {
  auto socket = LineSocket::connect(host, port, kConnectSeconds);
  if (!socket) {
    why_not = str("no process listens on ", host, ":", port);
    return std::nullopt;
  }
  socket->send(to_line(hello), kClientSendSeconds);
  const auto answer = socket->receive_line(kConnectSeconds);
  const nlohmann::json message = parse_message(answer.value_or(""));
  if (message.contains("failed")) {
    throw_error(static_cast<ExitCode>(number_of(message, "code", 7)), text_of(message, "failed"));
  }
  if (message.contains("welcome")) return socket;
  why_not = str("another program or job listens on ", host, ":", port);
  return std::nullopt;
}

}  // namespace

Go join(const std::string& host, int first_port, int port_count, const Hello& hello, double seconds) {
  const double started = now_seconds();
  std::optional<LineSocket> socket;
  std::string why_not = "no process";
  for (int attempt = 0; !socket; ++attempt) {
    if (now_seconds() - started > seconds) {
      throw PeerLostError(str(rank_label(hello.rank, hello.host, -1), " expected rank 0 on ", host, " within ", seconds,
                              " s, got none: ", why_not, " (try comm.init_timeout_seconds if it starts late)"));
    }
    socket = try_port(host, first_port + attempt % port_count, hello, why_not);
    if (!socket && attempt % port_count == port_count - 1) std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  const double deadline = started + seconds + kAfterDeadline;
  while (true) {
    const auto line = socket->receive_line(deadline - now_seconds());
    if (!line) {
      throw PeerLostError("[rank 0 on " + host + "] lost: it left while ranks were waiting for each other");
    }
    const nlohmann::json message = parse_message(*line);
    if (message.contains("failed")) {
      throw_error(static_cast<ExitCode>(number_of(message, "code", 7)), text_of(message, "failed"));
    }
    if (message.contains("store_port")) {
      std::string address = socket->peer_address();
      return {.socket = std::move(*socket),
              .rank_0_address = std::move(address),
              .rank_0_host = text_of(message, "host"),
              .store_port = static_cast<int>(number_of(message, "store_port", 0)),
              .address = text_of(message, "address")};
    }
  }
}

WatchClient::WatchClient(LineSocket socket, Hello hello, std::string rank_0_host, double train_timeout)
    : socket_(std::move(socket)),
      hello_(std::move(hello)),
      rank_0_host_(std::move(rank_0_host)),
      train_timeout_(train_timeout) {
  thread_ = std::thread([this] { run(); });
}

WatchClient::~WatchClient() {
  stopping_ = true;
  thread_.join();
}

void WatchClient::send(const std::string& line) {
  const std::lock_guard lock(send_mutex_);
  socket_.send(line, kClientSendSeconds);
}

void WatchClient::leave() {
  stopping_ = true;
  if (thread_.joinable()) thread_.join();
  thread_ = std::thread([] {});
  if (end_.begun()) return;
  socket_.send(kGoodbyeLine, kClientSendSeconds);
  socket_.shutdown_send();
}

void WatchClient::announce_failure(const std::string& message, int exit_code) {
  {
    const std::lock_guard lock(announced_mutex_);
    announced_ = message;
  }
  send(failure_line(message, exit_code, step_));
  if (!end_.wait(5)) {
    end_.begin(rank_label(hello_.rank, hello_.host, step_) + " failed: " + message, exit_code, message);
  }
}

void WatchClient::rank_0_lost(const std::string& why) {
  end_.begin(rank_label(0, rank_0_host_, rank_0_step_) + " lost: " + why, static_cast<int>(ExitCode::kPeerLost));
}

void WatchClient::run() {
  double last_sign = now_seconds();
  double last_look = last_sign;
  double last_beat = 0;
  while (!stopping_) {
    wait_readable(socket_.fd(), kClientTick);
    const double now = now_seconds();
    if (now - last_look > kWasAsleep) last_sign += now - last_look;
    last_look = now;

    std::vector<std::string> lines;
    bool closed = false;
    {
      const std::lock_guard lock(send_mutex_);
      lines = socket_.receive();
      closed = socket_.closed();
    }
    for (const std::string& line : lines) {
      last_sign = now;
      const nlohmann::json message = parse_message(line);
      rank_0_step_ = number_of(message, "beat", rank_0_step_);
      if (!message.contains("failed")) continue;
      std::string own;
      {
        const std::lock_guard lock(announced_mutex_);
        own = announced_;
      }
      end_.begin(text_of(message, "failed"), static_cast<int>(number_of(message, "code", 7)), own);
      return;
    }
    if (closed) {
      rank_0_lost("its connection closed (it was killed or crashed; see its own log)");
      return;
    }
    if (now - last_sign > train_timeout_) {
      rank_0_lost("no sign of life for " + format_double("%.0f", train_timeout_) +
                  " s (it is stopped, or its machine cannot be reached)");
      return;
    }
    if (now - last_beat >= kBeatEvery) {
      last_beat = now;
      send(beat_line(step_));
    }
  }
}

}  // namespace millrace
