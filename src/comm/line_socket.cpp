#include "comm/line_socket.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "base/text.h"

namespace millrace {
namespace {

bool wait_for(int fd, short events, double seconds) {
  const double end = now_seconds() + seconds;
  while (true) {
    pollfd entry = {.fd = fd, .events = events, .revents = 0};
    const double left = std::max(0.0, end - now_seconds());
    const int ready = ::poll(&entry, 1, static_cast<int>(left * 1000) + (left > 0 ? 1 : 0));
    if (ready > 0) return true;
    if (ready == 0 || errno != EINTR) return false;
  }
}

void prepare(int fd) {
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
}

std::string numeric(const sockaddr_storage& address, socklen_t length) {
  char text[NI_MAXHOST] = "";
  if (::getnameinfo(reinterpret_cast<const sockaddr*>(&address), length, text, sizeof text, nullptr, 0,
                    NI_NUMERICHOST) != 0) {
    return "";
  }
  const std::string_view view = text;
  constexpr std::string_view kMapped = "::ffff:";  // IPv4 on a socket that takes both
  return std::string(view.starts_with(kMapped) ? view.substr(kMapped.size()) : view);
}

}  // namespace

bool wait_readable(int fd, double seconds) {
  return wait_for(fd, POLLIN, seconds);
}

bool is_loopback(const std::string& address) {
  return starts_with(address, "127.") || address == "::1";
}

LineSocket::~LineSocket() {
  if (fd_ >= 0) ::close(fd_);
}

LineSocket::LineSocket(LineSocket&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), closed_(other.closed_), buffer_(std::move(other.buffer_)) {}

LineSocket& LineSocket::operator=(LineSocket&& other) noexcept {
  std::swap(fd_, other.fd_);
  std::swap(closed_, other.closed_);
  std::swap(buffer_, other.buffer_);
  return *this;
}

std::optional<LineSocket> LineSocket::connect(const std::string& host, int port, double seconds) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found) != 0) return std::nullopt;
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);
  for (const addrinfo* address = found; address != nullptr; address = address->ai_next) {
    LineSocket socket(::socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (socket.fd_ < 0) continue;
    prepare(socket.fd_);
    if (::connect(socket.fd_, address->ai_addr, address->ai_addrlen) != 0) {
      if (errno != EINPROGRESS || !wait_for(socket.fd_, POLLOUT, seconds)) continue;
      int error = 0;
      socklen_t length = sizeof error;
      if (::getsockopt(socket.fd_, SOL_SOCKET, SO_ERROR, &error, &length) != 0 || error != 0) continue;
    }
    // A free port of this machine can, by chance, be connected to itself.
    sockaddr_storage local = {}, peer = {};
    socklen_t local_length = sizeof local, peer_length = sizeof peer;
    ::getsockname(socket.fd_, reinterpret_cast<sockaddr*>(&local), &local_length);
    ::getpeername(socket.fd_, reinterpret_cast<sockaddr*>(&peer), &peer_length);
    if (local_length == peer_length && std::memcmp(&local, &peer, local_length) == 0) continue;
    return socket;
  }
  return std::nullopt;
}

bool LineSocket::send(const std::string& line, double seconds) {
  const std::string text = line + "\n";
  const double end = now_seconds() + seconds;
  size_t sent = 0;
  while (sent < text.size() && !closed_) {
    const ssize_t count = ::send(fd_, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (count > 0) {
      sent += static_cast<size_t>(count);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      // Half a line would garble the next: if a line cannot be completed, the connection is closed.
      if (!wait_for(fd_, POLLOUT, end - now_seconds())) {
        if (sent > 0) closed_ = true;
        return false;
      }
    } else if (errno != EINTR) {
      closed_ = true;
    }
  }
  return !closed_;
}

void LineSocket::read_available() {
  char bytes[4096];
  while (!closed_) {
    const ssize_t count = ::recv(fd_, bytes, sizeof bytes, 0);
    if (count > 0) {
      buffer_.append(bytes, static_cast<size_t>(count));
      if (buffer_.size() > kMaxLine && buffer_.find('\n') == std::string::npos) closed_ = true;
    } else if (count < 0 && errno == EINTR) {
      continue;
    } else {
      if (count == 0 || (errno != EAGAIN && errno != EWOULDBLOCK)) closed_ = true;
      return;
    }
  }
}

std::vector<std::string> LineSocket::receive() {
  read_available();
  std::vector<std::string> lines;
  size_t begin = 0;
  for (size_t end; (end = buffer_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    lines.push_back(buffer_.substr(begin, end - begin));
  }
  buffer_.erase(0, begin);
  return lines;
}

std::optional<std::string> LineSocket::receive_line(double seconds) {
  const double deadline = now_seconds() + seconds;
  while (true) {
    if (const size_t end = buffer_.find('\n'); end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    if (closed_ || !wait_for(fd_, POLLIN, deadline - now_seconds())) return std::nullopt;
    read_available();
  }
}

void LineSocket::shutdown_send() {
  ::shutdown(fd_, SHUT_WR);
}

std::string LineSocket::local_address() const {
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  return ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length) == 0 ? numeric(address, length) : "";
}

std::string LineSocket::peer_address() const {
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  return ::getpeername(fd_, reinterpret_cast<sockaddr*>(&address), &length) == 0 ? numeric(address, length) : "";
}

Listener::~Listener() {
  if (fd_ >= 0) ::close(fd_);
}

Listener::Listener(Listener&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

std::optional<Listener> Listener::open(int port) {
  // IPv6 takes IPv4 connections too; a machine without IPv6 has only the second.
  for (const int family : {AF_INET6, AF_INET}) {
    Listener listener(::socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (listener.fd_ < 0) continue;
    const int on = 1, off = 0;
    ::setsockopt(listener.fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_storage address = {};
    socklen_t length = 0;
    if (family == AF_INET6) {
      ::setsockopt(listener.fd_, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
      auto& six = reinterpret_cast<sockaddr_in6&>(address);
      six.sin6_family = AF_INET6;
      six.sin6_addr = in6addr_any;
      six.sin6_port = htons(static_cast<uint16_t>(port));
      length = sizeof six;
    } else {
      auto& four = reinterpret_cast<sockaddr_in&>(address);
      four.sin_family = AF_INET;
      four.sin_addr.s_addr = htonl(INADDR_ANY);
      four.sin_port = htons(static_cast<uint16_t>(port));
      length = sizeof four;
    }
    if (::bind(listener.fd_, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
      if (errno == EADDRINUSE) return std::nullopt;
      continue;
    }
    if (::listen(listener.fd_, 4096) == 0) return listener;
  }
  return std::nullopt;
}

int Listener::port() const {
  sockaddr_storage address = {};
  socklen_t length = sizeof address;
  if (::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length) != 0) return 0;
  return ntohs(address.ss_family == AF_INET6 ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                                             : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

std::optional<LineSocket> Listener::accept() {
  const int fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
  if (fd < 0) return std::nullopt;
  prepare(fd);
  return LineSocket(fd);
}

}  // namespace millrace
