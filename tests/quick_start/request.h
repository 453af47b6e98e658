// What a client asks of the server: arguments, environment, folder and the three standard streams of a process.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

struct Request {
  std::vector<std::string> words;      // arguments after the program's name
  std::vector<std::string> variables;  // NAME=value
  std::string folder;
  int descriptors[3] = {0, 1, 2};
};

template <typename Result>
Result check(Result result, const char* what) {
  if (result < 0) {
    std::fprintf(stderr, "quick_start: %s: %s\n", what, std::strerror(errno));
    _exit(121);
  }
  return result;
}

inline sockaddr_un socket_address(const char* path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path, sizeof address.sun_path - 1);
  return address;
}

// The descriptors travel with the size of what follows: count of words, then words, folder and variables, each ended by
// \0.
inline void send(int connection, const Request& request) {
  std::string text = std::to_string(request.words.size()) + '\0';
  for (const std::string& word : request.words) text += word + '\0';
  text += request.folder + '\0';
  for (const std::string& variable : request.variables) text += variable + '\0';

  uint64_t size = text.size();
  iovec part{.iov_base = &size, .iov_len = sizeof size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof request.descriptors)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof request.descriptors);
  std::memcpy(CMSG_DATA(header), request.descriptors, sizeof request.descriptors);
  check(sendmsg(connection, &message, 0), "sendmsg");
  for (size_t done = 0; done < text.size();) {
    done += static_cast<size_t>(check(write(connection, text.data() + done, text.size() - done), "write"));
  }
}

inline Request receive(int connection) {
  Request request;
  uint64_t size = 0;
  iovec part{.iov_base = &size, .iov_len = sizeof size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof request.descriptors)] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const cmsghdr* header = nullptr;
  if (recvmsg(connection, &message, MSG_WAITALL) == sizeof size) header = CMSG_FIRSTHDR(&message);
  if (header == nullptr) _exit(121);  // a client that has gone
  std::memcpy(request.descriptors, CMSG_DATA(header), sizeof request.descriptors);

  std::string text(size, '\0');
  for (size_t done = 0; done < size;) {
    const ssize_t got = check(read(connection, text.data() + done, size - done), "read");
    if (got == 0) _exit(121);
    done += static_cast<size_t>(got);
  }
  size_t at = 0;
  const auto next = [&] {
    const std::string item = text.c_str() + at;
    at += item.size() + 1;
    return item;
  };
  for (size_t words = std::stoull(next()); words > 0; --words) request.words.push_back(next());
  request.folder = next();
  while (at < size) request.variables.push_back(next());
  return request;
}
