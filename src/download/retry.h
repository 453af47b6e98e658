// When to ask again: exponential backoff with jitter, and what servers say about it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "download/http.h"

namespace millrace {

struct RetryOptions {
  int retries = 12;            // in a row without progress: about ten minutes
  double first_seconds = 0.5;  // doubles with each
  double longest_seconds = 120;
};

class Retry {
 public:
  explicit Retry(const RetryOptions& options);

  // Whether there is another try; then ready_at() is when. The server's wish, in seconds, goes before our schedule.
  bool again(double now, std::optional<double> server_wait = std::nullopt);
  void made_progress() { tries_ = 0; }
  double ready_at() const { return ready_at_; }
  int tries() const { return tries_; }

 private:
  RetryOptions options_;
  int tries_ = 0;
  double ready_at_ = 0;
};

// Seconds of a Retry-After header ("120" or "Wed, 21 Oct 2026 07:28:00 GMT"), or until the limit named by Hugging
// Face's RateLimit header (`"api";r=0;t=55`) ends. now_unix: seconds since 1970. nullopt when the server names no time.
std::optional<double> server_wait(const HttpHead& head, int64_t now_unix);

// Longer waits than this are reported instead of waited for.
inline constexpr double kLongestServerWait = 3600;

// Statuses that may be gone the next time: 408, 425, 429 and 5xx of overload and of gateways.
bool is_temporary(int status);

}  // namespace millrace
