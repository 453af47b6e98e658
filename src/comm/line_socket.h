// TCP connections that carry short lines of text. No call blocks longer than its timeout.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace millrace {

class LineSocket {
 public:
  static constexpr size_t kMaxLine = 1 << 16;  // a peer that sends longer ones is not ours: closed()

  explicit LineSocket(int fd) : fd_(fd) {}
  ~LineSocket();
  LineSocket(LineSocket&& other) noexcept;
  LineSocket& operator=(LineSocket&& other) noexcept;
  LineSocket(const LineSocket&) = delete;
  LineSocket& operator=(const LineSocket&) = delete;

  // nullopt when no process answers within seconds.
  static std::optional<LineSocket> connect(const std::string& host, int port, double seconds);

  // False when the line could not be sent within seconds; closed() tells whether the connection is gone.
  bool send(const std::string& line, double seconds);
  // The complete lines that have arrived; does not wait.
  std::vector<std::string> receive();
  // Waits for one line at most seconds; nullopt when none came or the connection is gone.
  std::optional<std::string> receive_line(double seconds);
  bool closed() const { return closed_; }
  void shutdown_send();

  int fd() const { return fd_; }
  std::string local_address() const;  // numeric
  std::string peer_address() const;

 private:
  void read_available();

  int fd_ = -1;
  bool closed_ = false;
  std::string buffer_;
};

class Listener {
 public:
  ~Listener();
  Listener(Listener&& other) noexcept;
  Listener& operator=(Listener&&) = delete;

  // On all interfaces; port 0: any free one. nullopt when the port is taken.
  static std::optional<Listener> open(int port);
  int port() const;
  int fd() const { return fd_; }
  std::optional<LineSocket> accept();  // does not wait

 private:
  explicit Listener(int fd) : fd_(fd) {}
  int fd_ = -1;
};

bool is_loopback(const std::string& address);
// Waits until the descriptor can be read (or written) at most seconds.
bool wait_readable(int fd, double seconds);

}  // namespace millrace
