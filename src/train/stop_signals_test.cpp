#include "train/stop_signals.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

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
