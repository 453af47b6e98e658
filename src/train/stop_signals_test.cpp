#include "train/stop_signals.h"

#include <gtest/gtest.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <functional>

namespace millrace {
namespace {

// The exit status of a child process or, negative, the signal that ended it.
int outcome(const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(STDERR_FILENO);
    ::_exit(work());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

TEST(StopSignals, AreAskedForAndEndNothing) {
  for (const int signal : {SIGTERM, SIGINT, SIGUSR1, SIGHUP}) {
    EXPECT_EQ(outcome([&] {
                ::signal(signal, SIG_DFL);
                const StopSignals stop;
                ::raise(signal);
                return stop.requested();
              }),
              signal);
  }
}

TEST(StopSignals, SecondOneRightBehindIsTheSame) {
  EXPECT_EQ(outcome([] {
              ::signal(SIGHUP, SIG_DFL);
              const StopSignals stop;
              ::raise(SIGHUP);
              ::raise(SIGTERM);
              return stop.requested();
            }),
            SIGHUP);
}

TEST(StopSignals, HangUpStaysIgnoredUnderNohup) {
  EXPECT_EQ(outcome([] {
              ::signal(SIGHUP, SIG_IGN);
              const StopSignals stop;
              ::raise(SIGHUP);
              return stop.requested();
            }),
            0);
}

// A number of 4 KiB below the stack pointer that a signal changed. Products of oneDNN keep numbers there.
__attribute__((noinline)) int changed_below_the_stack(int signal) {
  int64_t changed = 0, number = 0x5A5A5A5A5A5A5A5A, call = SYS_kill;
  const int64_t process = ::getpid();
  // Nothing here may use the stack: neither calls nor the compiler, which is why this is one statement.
  asm volatile(
      "movq $-512, %%rdx\n"
      "1: movq %[number], -128(%%rsp,%%rdx,8)\n"
      "incq %%rdx\n"
      "jnz 1b\n"
      "syscall\n"
      "movq $-512, %%rdx\n"
      "2: cmpq %[number], -128(%%rsp,%%rdx,8)\n"
      "je 3f\n"
      "incq %[changed]\n"
      "3: incq %%rdx\n"
      "jnz 2b\n"
      : [changed] "+r"(changed), "+a"(call)
      : [number] "r"(number), "D"(process), "S"(int64_t{signal})
      : "rdx", "rcx", "r11", "memory", "cc");
  return changed > 0 ? 1 : 0;
}

TEST(StopSignals, LeaveTheStackOfAComputationAlone) {
  EXPECT_EQ(outcome([] {
              const StopSignals stop;
              return changed_below_the_stack(SIGUSR1) == 0 && stop.requested() == SIGUSR1 ? 0 : 1;
            }),
            0);
}

TEST(StopSignals, LeaveWhatWasThere) {
  EXPECT_EQ(outcome([] {
              ::signal(SIGTERM, SIG_IGN);
              { const StopSignals stop; }
              ::raise(SIGTERM);
              return 3;
            }),
            3);
  EXPECT_EQ(outcome([] {
              ::signal(SIGTERM, SIG_DFL);
              { const StopSignals stop; }
              ::raise(SIGTERM);
              return 3;
            }),
            -SIGTERM);
}

}  // namespace
}  // namespace millrace
