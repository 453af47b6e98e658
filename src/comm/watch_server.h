// Rank 0's half of the watch: gathers the ranks, then listens to their heartbeats and tells every rank of a
// failure.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "comm/end_of_run.h"
#include "comm/line_socket.h"
#include "comm/watch.h"
#include "comm/watch_messages.h"

namespace millrace {

class WatchServer : public Watch {
 public:
  struct Options {
    double init_timeout = 300;
    double train_timeout = 100;
    int store_port = 0;
  };
  WatchServer(Listener listener, Hello rank_0, const Options& options);
  ~WatchServer() override;

  // Waits until all ranks have connected and been told to start; returns the address that rank 0's Gloo listens on.
  // Throws PeerLostError naming the missing ranks, ConfigError naming what differs.
  std::string gather();
  // Waits for the others' goodbye, or until one is lost; at most seconds.
  void leave(double seconds);

  void set_step(int64_t step) override { step_ = step; }
  void announce_failure(const std::string& message, int exit_code) override;
  void check() override { end_.check(); }
  EndOfRun& end() { return end_; }

 private:
  struct Peer {
    LineSocket socket;
    double last_sign = 0;
    Hello hello = {};
    bool known = false;  // its hello has come
    int64_t step = -1;
    bool gone = false;  // said goodbye
  };
  enum class Phase { kGathering, kRunning, kFailed };

  void run();
  void accept_new();
  void read(Peer& peer);
  void take_hello(Peer& peer, const std::string& line);
  void check_heartbeats(double now);
  void check_rendezvous(double now);
  void send_go();
  Peer* rank(int number);
  std::string missing_ranks() const;
  // The run is over: tells all ranks. In the gathering phase gather() throws, later every process ends.
  void fail(const std::string& message, int exit_code, const std::string& also_known_as = "");

  Listener listener_;
  Hello rank_0_;
  Options options_;
  EndOfRun end_;
  std::vector<std::unique_ptr<Peer>> peers_;  // connections, in the order of their arrival; the thread's own
  double started_ = 0;
  double give_up_at_ = 0;
  double last_beat_ = 0;
  std::string problem_;  // the first difference between ranks; reported once all have connected, or soon
  std::atomic<int64_t> step_ = -1;

  std::mutex mutex_;
  std::condition_variable changed_;
  Phase phase_ = Phase::kGathering;
  std::string failure_;
  int failure_code_ = 0;
  std::string address_;
  bool all_gone_ = false;
  std::string announced_;
  int announced_code_ = 0;
  bool has_announced_ = false;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace millrace
