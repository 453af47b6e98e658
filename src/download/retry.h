// When to retry: exponential backoff with jitter, and the servers' own wishes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "download/http.h"

namespace millrace {

struct RetryOptions {
  int retries = 12;            // consecutive, without progress: about ten minutes
  double first_seconds = 0.5;  // doubles with each retry
  double longest_seconds = 120;
};

class Retry {
 public:
  explicit Retry(const RetryOptions& options);

  // Whether to retry, at ready_at(). The server's wish, in seconds, takes precedence over our schedule.
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

// Longer waits than this are reported instead.
inline constexpr double kLongestServerWait = 3600;

// Statuses worth a retry: 408, 425, 429 and the 5xx of overload and gateways.
bool is_temporary(int status);

}  // namespace millrace
