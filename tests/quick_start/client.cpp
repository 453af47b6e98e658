// client WORD...: what the program would be with these arguments, in this folder, environment and with these streams,
// but run by a server (server.cpp). Ends as the program does, by a signal too.
#include <sys/wait.h>

#include <csignal>

#include "request.h"

int main(int argc, char** argv) {
  Request request;
  request.words.assign(argv + 1, argv + argc);
  for (char** variable = environ; *variable != nullptr; ++variable) request.variables.emplace_back(*variable);
  char* const folder = getcwd(nullptr, 0);
  if (folder == nullptr) check(-1, "getcwd");
  request.folder = folder;

  const int connection = check(socket(AF_UNIX, SOCK_STREAM, 0), "socket");
  const sockaddr_un address = socket_address(getenv("MILLRACE_QUICK_START"));
  check(connect(connection, reinterpret_cast<const sockaddr*>(&address), sizeof address), "connect");
  send(connection, request);
  for (const int descriptor : request.descriptors) close(descriptor);  // a reader of a pipe sees the program's own end

  int status = 0;
  if (read(connection, &status, sizeof status) != sizeof status) return 121;
  if (WIFSIGNALED(status)) {
    std::signal(WTERMSIG(status), SIG_DFL);
    raise(WTERMSIG(status));
  }
  return WEXITSTATUS(status);
}
