#include "download/retry.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cmath>

#include "base/clock.h"
#include "base/philox.h"
#include "base/text.h"

namespace millrace {
namespace {

// In [0.5, 1), so that many clients that failed together do not retry together.
double jitter() {
  static const RandomStream stream =
      random_stream(static_cast<uint64_t>(unix_milliseconds()) ^ (static_cast<uint64_t>(::getpid()) << 40),
                    RandomPurpose::kShuffle, 0, 0);
  static std::atomic<uint64_t> next{0};
  return 0.5 + 0.5 * random_uniform(stream, next++);
}

std::optional<int64_t> whole_number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<double> rate_limit_wait(const std::string& header) {
  std::optional<int64_t> remaining, seconds;
  for (const std::string& part : split(header, ';')) {
    const std::string_view piece = trim(part);
    if (starts_with(piece, "r=")) remaining = whole_number(piece.substr(2));
    if (starts_with(piece, "t=")) seconds = whole_number(piece.substr(2));
  }
  if (remaining != 0 || !seconds) return std::nullopt;
  return static_cast<double>(*seconds) + 1;
}

}  // namespace

Retry::Retry(const RetryOptions& options) : options_(options) {}

bool Retry::again(double now, std::optional<double> server_wait) {
  if (tries_ >= options_.retries) return false;
  const double delay = std::min(options_.longest_seconds, options_.first_seconds * std::exp2(std::min(tries_, 30)));
  ++tries_;
  ready_at_ = now + std::max(delay * jitter(), server_wait.value_or(0));
  return true;
}

std::optional<double> server_wait(const HttpHead& head, int64_t now_unix) {
  const std::string text = head.header("retry-after");
  if (const auto seconds = whole_number(text); seconds && !text.empty()) return static_cast<double>(*seconds);
  std::tm date{};
  const char* end = text.empty() ? nullptr : ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &date);
  if (end != nullptr && *end == '\0') return std::max<double>(0, static_cast<double>(::timegm(&date) - now_unix));
  return head.status == 429 ? rate_limit_wait(head.header("ratelimit")) : std::nullopt;
}

bool is_temporary(int status) {
  if (status == 408 || status == 425 || status == 429) return true;
  // 52x are Cloudflare's: the server behind it is down or slow.
  return status == 500 || status == 502 || status == 503 || status == 504 || (status >= 520 && status <= 524);
}

}  // namespace millrace
