#include "local_ranks.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/line_socket.h"
#include "prefixed_output.h"

extern char** environ;

namespace millrace {
namespace {

constexpr double kGraceSeconds = 10;  // after the first failure; the others report the lost rank themselves
constexpr int kPatientStops = 2;      // the third request to stop is enforced instead of forwarded

// Below the kernel's ports for outgoing connections.
int free_port() {
  constexpr int kFirst = 15000, kCount = 16000;
  const auto seed =
      static_cast<uint64_t>(unix_milliseconds()) * 2654435761u + static_cast<uint64_t>(::getpid()) * 40503u;
  for (int i = 0; i < kCount; ++i) {
    const int port = kFirst + static_cast<int>((seed + static_cast<uint64_t>(i)) % kCount);
    if (Listener::open(port)) return port;
  }
  throw ConfigError("[millrace launch] expected a free port from 15000 to 30999, got none");
}

int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

// This process's environment with the variables of the given rank.
std::vector<std::string> rank_environment(int rank, int ranks, const NodePlace& place) {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos && !starts_with(text, "TORCHELASTIC_")) {
      variables[text.substr(0, equals)] = text.substr(equals + 1);
    }
  }
  variables["RANK"] = std::to_string(place.node * ranks + rank);
  variables["LOCAL_RANK"] = std::to_string(rank);
  variables["WORLD_SIZE"] = std::to_string(place.nodes * ranks);
  variables["LOCAL_WORLD_SIZE"] = std::to_string(ranks);
  variables["MASTER_ADDR"] = place.master_host;
  variables["MASTER_PORT"] = std::to_string(place.master_port);
  variables["MILLRACE_LAUNCH_ID"] = place.job_id;
  variables.emplace("OMP_NUM_THREADS", std::to_string(std::max(1, usable_cores() / ranks)));
  std::vector<std::string> entries;
  for (const auto& [name, value] : variables) entries.push_back(name + "=" + value);
  return entries;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

struct Child {
  pid_t pid = -1;
  bool running = false;
  std::unique_ptr<PrefixedOutput> out, err;
};

class LocalRanks {
 public:
  explicit LocalRanks(int count) : children_(static_cast<size_t>(count)) {
    sigset_t mask;
    ::sigemptyset(&mask);
    for (const int signal : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCONT})
      ::sigaddset(&mask, signal);
    ::sigprocmask(SIG_BLOCK, &mask, &old_mask_);
    signals_ = ::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_ < 0)
      throw ConfigError(std::string("[millrace launch] expected to receive signals, got: ") + std::strerror(errno));
  }
  ~LocalRanks() {
    kill_all(SIGKILL);
    for (const Child& child : children_) {
      if (child.running) ::waitpid(child.pid, nullptr, 0);
    }
    ::close(signals_);
    ::sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
  }
  LocalRanks(const LocalRanks&) = delete;
  LocalRanks& operator=(const LocalRanks&) = delete;

  void start(int rank, std::vector<std::string> command, std::vector<std::string> environment) {
    Child& child = children_[static_cast<size_t>(rank)];
    int out[2] = {-1, -1}, err[2] = {-1, -1};
    if (rank > 0 && (::pipe2(out, O_CLOEXEC) != 0 || ::pipe2(err, O_CLOEXEC) != 0)) fail_to_start(command.front());
    int started[2];  // closed by a successful exec, else carries errno
    if (::pipe2(started, O_CLOEXEC) != 0) fail_to_start(command.front());
    const std::vector<char*> argv = pointers(command), envp = pointers(environment);
    const int nowhere = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    const pid_t parent = ::getpid();
    child.pid = ::fork();
    if (child.pid < 0) fail_to_start(command.front());
    if (child.pid == 0) {
      ::setpgid(0, 0);  // a Ctrl-C reaches it only once, through this process
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) ::_exit(1);
      ::dup2(nowhere, STDIN_FILENO);
      if (rank > 0) {
        ::dup2(out[1], STDOUT_FILENO);
        ::dup2(err[1], STDERR_FILENO);
      }
      ::sigprocmask(SIG_SETMASK, &old_mask_, nullptr);
      // Other programs need not ignore the signals that this one ignores.
      for (const int signal : {SIGPIPE, SIGXFSZ}) ::signal(signal, SIG_DFL);
      ::execvpe(argv[0], argv.data(), envp.data());
      const int why = errno;
      [[maybe_unused]] const ssize_t count = ::write(started[1], &why, sizeof why);
      ::_exit(127);
    }
    child.running = true;
    ::setpgid(child.pid, child.pid);
    for (const int fd : {nowhere, out[1], err[1], started[1]}) {
      if (fd >= 0) ::close(fd);
    }
    if (rank > 0) {
      const std::string prefix = "[rank " + std::to_string(rank) + "] ";
      child.out = std::make_unique<PrefixedOutput>(out[0], STDOUT_FILENO, prefix);
      child.err = std::make_unique<PrefixedOutput>(err[0], STDERR_FILENO, prefix);
    }
    int why = 0;
    const ssize_t count = ::read(started[0], &why, sizeof why);
    ::close(started[0]);
    if (count == sizeof why) {
      throw ConfigError("[" + command.front() + "] expected a command that can be started, got: " + std::strerror(why));
    }
  }

  int wait() {
    double kill_at = 0;
    while (std::any_of(children_.begin(), children_.end(), [](const Child& child) { return child.running; })) {
      wait_for_events(kill_at > 0 ? std::clamp(kill_at - now_seconds(), 0.0, 1.0) : 1.0);
      pass_signals_on();
      reap();
      if (status_ != 0 && kill_at == 0) kill_at = now_seconds() + kGraceSeconds;
      if (kill_at > 0 && now_seconds() >= kill_at) kill_all(SIGKILL);
    }
    for (Child& child : children_) {
      if (child.out) child.out->finish();
      if (child.err) child.err->finish();
    }
    return status_;
  }

 private:
  [[noreturn]] static void fail_to_start(const std::string& command) {
    throw ConfigError("[" + command + "] expected to start a process, got: " + std::strerror(errno));
  }

  void wait_for_events(double seconds) {
    std::vector<pollfd> entries = {{.fd = signals_, .events = POLLIN, .revents = 0}};
    std::vector<PrefixedOutput*> outputs;
    for (Child& child : children_) {
      for (PrefixedOutput* output : {child.out.get(), child.err.get()}) {
        if (output == nullptr || output->ended()) continue;
        entries.push_back({.fd = output->fd(), .events = POLLIN, .revents = 0});
        outputs.push_back(output);
      }
    }
    ::poll(entries.data(), entries.size(), static_cast<int>(seconds * 1000) + 1);
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (entries[i + 1].revents != 0) outputs[i]->pass_on();
    }
  }

  void pass_signals_on() {
    signalfd_siginfo info;
    while (::read(signals_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      const int signal = static_cast<int>(info.ssi_signo);
      if (signal == SIGCHLD) continue;
      const bool stop = signal == SIGTERM || signal == SIGINT || signal == SIGHUP || signal == SIGQUIT;
      if (stop) ++stops_;
      kill_all(stop && stops_ > kPatientStops ? SIGKILL : signal);
    }
  }

  void reap() {
    for (size_t rank = 0; rank < children_.size(); ++rank) {
      Child& child = children_[rank];
      int state = 0;
      if (!child.running || ::waitpid(child.pid, &state, WNOHANG) != child.pid) continue;
      child.running = false;
      ::kill(-child.pid, SIGKILL);  // processes that it started itself
      const int status = WIFSIGNALED(state) ? 128 + WTERMSIG(state) : WEXITSTATUS(state);
      if (status == 0 || status_ != 0) continue;
      status_ = status;
      if (WIFSIGNALED(state)) {
        log_error("rank ", rank, " was ended by signal ", WTERMSIG(state), " (", ::strsignal(WTERMSIG(state)), ")");
      }
    }
  }

  void kill_all(int signal) {
    for (const Child& child : children_) {
      if (child.running) ::kill(-child.pid, signal);
    }
  }

  std::vector<Child> children_;
  sigset_t old_mask_ = {};
  int signals_ = -1;
  int status_ = 0;  // of the first rank that failed
  int stops_ = 0;
};

}  // namespace

int run_local_ranks(int ranks, const std::vector<std::string>& command) {
  return run_local_ranks(ranks, command,
                         {.node = 0,
                          .nodes = 1,
                          .master_host = "127.0.0.1",
                          .master_port = free_port(),
                          .job_id = str("launch-", ::getpid(), "-", unix_milliseconds())});
}

int run_local_ranks(int ranks, const std::vector<std::string>& command, const NodePlace& place) {
  LocalRanks local(ranks);
  for (int rank = 0; rank < ranks; ++rank) local.start(rank, command, rank_environment(rank, ranks, place));
  return local.wait();
}

}  // namespace millrace
