#include "checkpoint/peers.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/log.h"

namespace millrace {
namespace {

// An answer is an exit code, a newline, and a text: the contribution or, if the code is not kDone, the error message.
std::string encode(ExitCode code, const std::string& text) {
  return str(static_cast<int>(code), "\n", text);
}

ExitCode code_of(const std::string& answer) {
  return static_cast<ExitCode>(std::stoi(answer));
}

std::string text_of(const std::string& answer) {
  return answer.substr(answer.find('\n') + 1);
}

std::string answer_of(const std::function<std::string()>& action) {
  try {
    return encode(ExitCode::kDone, action());
  } catch (const Error& error) {
    return encode(error.code(), error.what());
  } catch (const std::exception& error) {
    return encode(ExitCode::kStorage, error.what());
  }
}

std::string result_of(const std::string& answer) {
  if (code_of(answer) == ExitCode::kDone) return text_of(answer);
  if (code_of(answer) == ExitCode::kPeerLost) throw SilentRankError(text_of(answer));
  throw_error(code_of(answer), text_of(answer));
}

std::string silence(const std::string& topic, int rank, double seconds) {
  return encode(ExitCode::kPeerLost, str("[", topic, "] expected an answer of rank ", rank, " within ", seconds,
                                         " s, got none (is that rank still there, and its disk working?)"));
}

}  // namespace

Peers::Peers(Store& store, int rank, int size, double timeout_seconds)
    : store_(&store), rank_(rank), size_(size), timeout_seconds_(timeout_seconds) {
  MILLRACE_CHECK(rank >= 0 && rank < size && timeout_seconds > 0);
}

void Peers::wait_at_most(double seconds) {
  last_deadline_ = now_seconds() + seconds;
}

std::optional<std::string> Peers::wait_for(const std::string& key, double deadline) {
  // Polls, because wait_at_most() may be called meanwhile; not so often that many ranks are a burden.
  // Existing answers are always taken.
  for (double pause = 0.001; !store_->has(key); pause = std::min(2 * pause, 0.1)) {
    if (now_seconds() > std::min(deadline, last_deadline_.load())) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::duration<double>(pause));
  }
  return store_->get(key, timeout_seconds_);
}

std::string Peers::gather_and_combine(const std::string& topic, std::string own, const Combine& combine) {
  std::vector<std::string> contributions = {text_of(own)};
  std::string failure = code_of(own) == ExitCode::kDone ? "" : own;
  std::string silent;
  const double deadline = now_seconds() + timeout_seconds_;
  for (int rank = 1; rank < size_; ++rank) {
    const std::string key = str(topic, "/", rank);
    const auto answer = wait_for(key, deadline);
    if (!answer) {
      if (silent.empty()) silent = silence(topic, rank, timeout_seconds_);
      continue;
    }
    store_->remove(key);  // lists of many thousand pieces need not stay in memory
    if (code_of(*answer) != ExitCode::kDone && failure.empty()) failure = *answer;
    contributions.push_back(text_of(*answer));
  }
  if (failure.empty()) failure = silent;
  return failure.empty() ? answer_of([&] { return combine(contributions); }) : failure;
}

std::string Peers::agree(const std::string& topic, const Contribute& contribute, const Combine& combine) {
  if (size_ == 1) return combine({contribute()});
  const std::string own = answer_of(contribute);
  const std::string verdict_key = topic + "/verdict";
  if (rank_ == 0) {
    const std::string verdict = gather_and_combine(topic, own, combine);
    store_->set(verdict_key, verdict);
    return result_of(verdict);
  }
  store_->set(str(topic, "/", rank_), own);
  // Rank 0 may be waiting for a silent rank; it should be the one to report it.
  const double patience = 1.25 * timeout_seconds_ + 1;
  const auto verdict = wait_for(verdict_key, now_seconds() + patience);
  return result_of(verdict ? *verdict : silence(topic, 0, patience));
}

}  // namespace millrace
