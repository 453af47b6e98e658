// The watch of every rank but rank 0.
#pragma once

#include <atomic>
#include <mutex>
#include <string>
#include <thread>

#include "comm/end_of_run.h"
#include "comm/line_socket.h"
#include "comm/watch.h"
#include "comm/watch_messages.h"

namespace millrace {

// What rank 0 sends once all ranks have connected.
struct Go {
  LineSocket socket;
  std::string rank_0_address;
  std::string rank_0_host;
  int store_port = 0;
  std::string address;  // that this rank's Gloo listens on
};

// Finds rank 0 behind one of the ports (tried in turn until a process of the same job answers), says hello and waits
// for all ranks. Throws the same PeerLostError or ConfigError as all other ranks, or a PeerLostError if rank 0 has not
// answered after seconds.
Go join(const std::string& host, int first_port, int port_count, const Hello& hello, double seconds);

class WatchClient : public Watch {
 public:
  WatchClient(LineSocket socket, Hello hello, std::string rank_0_host, double train_timeout);
  ~WatchClient() override;

  void leave();  // says goodbye

  void set_step(int64_t step) override { step_ = step; }
  void announce_failure(const std::string& message, int exit_code) override;
  void check() override { end_.check(); }
  EndOfRun& end() { return end_; }

 private:
  void run();
  void send(const std::string& line);
  void rank_0_lost(const std::string& why);

  LineSocket socket_;
  std::mutex send_mutex_;
  Hello hello_;
  std::string rank_0_host_;
  double train_timeout_;
  EndOfRun end_;
  std::atomic<int64_t> step_ = -1;
  std::atomic<int64_t> rank_0_step_ = -1;
  std::mutex announced_mutex_;
  std::string announced_;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace millrace
