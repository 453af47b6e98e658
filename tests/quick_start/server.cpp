// Starts a program many times at the price of one: preloaded into the program (LD_PRELOAD), this waits just before
// main(), when all libraries are loaded and set up, and runs main() in a copy of the process for every client
// (client.cpp).
//
// Setting up libtorch's operators takes half a second of processor time, and the tests start the program thousands of
// times.
//
// MILLRACE_QUICK_START: the path of the socket to listen on; if it is not set, main() runs as usual. The server ends
// when its standard input does.
#include <dlfcn.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "request.h"

namespace {

using Main = int (*)(int, char**, char**);
Main real_main;

// Takes the place of a process that the client would have started, and becomes it.
int run(Request request, char* program) {
  for (int i = 0; i < 3; ++i) check(dup2(request.descriptors[i], i), "dup2");
  for (const int descriptor : request.descriptors) close(descriptor);
  check(chdir(request.folder.c_str()), "chdir");
  static std::vector<std::string> kept_words, kept_variables;  // as long as the process lives
  kept_words = std::move(request.words);
  kept_variables = std::move(request.variables);
  clearenv();
  for (std::string& variable : kept_variables) putenv(variable.data());
  static std::vector<char*> arguments;
  arguments = {program};
  for (std::string& word : kept_words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  return real_main(static_cast<int>(arguments.size()) - 1, arguments.data(), environ);
}

// Waits for the process and tells the client its status; kills it if the client has gone.
[[noreturn]] void keep(int client, pid_t process) {
  const int end = static_cast<int>(check(syscall(SYS_pidfd_open, process, 0), "pidfd_open"));
  pollfd events[] = {{.fd = end, .events = POLLIN, .revents = 0}, {.fd = client, .events = POLLRDHUP, .revents = 0}};
  while (poll(events, 2, -1) < 0 && errno == EINTR) {
  }
  if (events[0].revents == 0) kill(process, SIGKILL);
  int status = 0;
  waitpid(process, &status, 0);
  (void)!write(client, &status, sizeof status);
  _exit(0);
}

int serve(int, char** argv, char**) {
  const int server = check(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket");
  // The name appears when a client may connect: between bind and listen it would be refused.
  const std::string name = getenv("MILLRACE_QUICK_START"), early = name + ".early";
  const sockaddr_un address = socket_address(early.c_str());
  check(bind(server, reinterpret_cast<const sockaddr*>(&address), sizeof address), "bind");
  check(listen(server, 64), "listen");
  check(rename(early.c_str(), name.c_str()), "rename");
  signal(SIGCHLD, SIG_IGN);  // no zombies
  while (true) {
    pollfd events[] = {{.fd = server, .events = POLLIN, .revents = 0}, {.fd = 0, .events = POLLIN, .revents = 0}};
    if (poll(events, 2, -1) < 0) continue;
    if (events[1].revents != 0) _exit(0);
    const int client = check(accept4(server, nullptr, nullptr, SOCK_CLOEXEC), "accept");
    if (check(fork(), "fork") == 0) {
      close(server);
      signal(SIGCHLD, SIG_DFL);
      Request request = receive(client);
      const pid_t process = check(fork(), "fork");
      if (process == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        close(client);
        return run(std::move(request), argv[0]);
      }
      for (const int descriptor : request.descriptors) close(descriptor);
      keep(client, process);
    }
    close(client);
  }
}

}  // namespace

extern "C" int __libc_start_main(Main main, int argc, char** argv, void (*init)(), void (*fini)(), void (*rtld_fini)(),
                                 void* stack_end) {
  const auto real = reinterpret_cast<decltype(&__libc_start_main)>(dlsym(RTLD_NEXT, "__libc_start_main"));
  real_main = main;
  return real(getenv("MILLRACE_QUICK_START") ? serve : main, argc, argv, init, fini, rtld_fini, stack_end);
}
