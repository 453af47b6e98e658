// For tests: runs an action in a child process and observes, or kills it at, system calls that change files.
#pragma once

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "checkpoint/test_support.h"

namespace millrace::testing {

struct FileCall {
  std::string name;  // "write", "fsync", "rename", ...
  std::string path;  // of the file written, synced, made, removed; the old name of a rename
  std::string to;    // the new name of a rename
};

struct TracedRun {
  std::vector<FileCall> calls;  // of the child's main thread
  bool killed = false;
  int exit_code = 0;  // of a child that was not killed
};

namespace trace_detail {

struct WatchedCall {
  uint64_t number;
  const char* name;
  enum { kDescriptor, kPath, kPathAt, kPathPair, kPathPairAt } arguments;
};

inline constexpr std::array kWatchedCalls = {WatchedCall{SYS_write, "write", WatchedCall::kDescriptor},
                                             WatchedCall{SYS_fsync, "fsync", WatchedCall::kDescriptor},
                                             WatchedCall{SYS_openat, "open", WatchedCall::kPathAt},
                                             WatchedCall{SYS_mkdir, "mkdir", WatchedCall::kPath},
                                             WatchedCall{SYS_unlink, "unlink", WatchedCall::kPath},
                                             WatchedCall{SYS_rmdir, "rmdir", WatchedCall::kPath},
                                             WatchedCall{SYS_unlinkat, "unlink", WatchedCall::kPathAt},
                                             WatchedCall{SYS_rename, "rename", WatchedCall::kPathPair},
                                             WatchedCall{SYS_renameat2, "rename", WatchedCall::kPathPairAt}};

inline std::string read_text(pid_t child, uint64_t address) {
  std::array<char, PATH_MAX> buffer{};
  const iovec local = {buffer.data(), buffer.size() - 1};
  const iovec remote = {reinterpret_cast<void*>(address), buffer.size() - 1};
  // A read that runs into an unmapped page returns the bytes before it.
  return ::process_vm_readv(child, &local, 1, &remote, 1, 0) > 0 ? buffer.data() : "";
}

inline std::string descriptor_path(pid_t child, uint64_t descriptor) {
  std::error_code ignored;
  return std::filesystem::read_symlink("/proc/" + std::to_string(child) + "/fd/" + std::to_string(descriptor), ignored)
      .string();
}

inline FileCall describe(pid_t child, const WatchedCall& call, const uint64_t* args) {
  switch (call.arguments) {
    case WatchedCall::kDescriptor:
      return {call.name, descriptor_path(child, args[0]), ""};
    case WatchedCall::kPath:
      return {call.name, read_text(child, args[0]), ""};
    case WatchedCall::kPathAt:
      return {call.name, read_text(child, args[1]), ""};
    case WatchedCall::kPathPair:
      return {call.name, read_text(child, args[0]), read_text(child, args[1])};
    case WatchedCall::kPathPairAt:
      return {call.name, read_text(child, args[1]), read_text(child, args[3])};
  }
  return {};
}

[[noreturn]] inline void run_child(const std::function<void()>& action) {
  ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr);
  ::raise(SIGSTOP);
  try {
    action();
    ::_exit(0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    ::_exit(1);
  }
}

}  // namespace trace_detail

// SIGKILLs the child just before its call number `kill_at` (from 0); -1 lets it run to its end.
inline TracedRun run_traced(const std::function<void()>& action, int kill_at = -1) {
  TracedRun run;
  const pid_t child = millrace::testing::fork_child();
  MILLRACE_CHECK(child >= 0);
  if (child == 0) trace_detail::run_child(action);
  int status = 0;
  MILLRACE_CHECK(::waitpid(child, &status, 0) == child && WIFSTOPPED(status));
  MILLRACE_CHECK(::ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0);
  int signal_to_pass = 0;
  while (true) {
    ::ptrace(PTRACE_SYSCALL, child, nullptr, signal_to_pass);
    MILLRACE_CHECK(::waitpid(child, &status, 0) == child);
    if (!WIFSTOPPED(status)) break;
    signal_to_pass = WSTOPSIG(status) == (SIGTRAP | 0x80) ? 0 : WSTOPSIG(status);
    __ptrace_syscall_info info{};
    if (signal_to_pass != 0 || ::ptrace(PTRACE_GET_SYSCALL_INFO, child, sizeof info, &info) <= 0) continue;
    if (info.op != PTRACE_SYSCALL_INFO_ENTRY) continue;
    for (const trace_detail::WatchedCall& call : trace_detail::kWatchedCalls) {
      if (call.number != info.entry.nr) continue;
      if (static_cast<int>(run.calls.size()) == kill_at) {
        run.killed = true;
        ::kill(child, SIGKILL);
      }
      run.calls.push_back(trace_detail::describe(child, call, info.entry.args));
    }
  }
  run.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return run;
}

}  // namespace millrace::testing
