// HTTP requests and responses. The client (http_client.h) neither follows redirects nor retries: that is up to
// its users.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "download/url.h"

namespace millrace {

// A secret for one origin. It is sent in the Authorization header of requests to that origin and nowhere else.
class AccessToken {
 public:
  AccessToken() = default;
  AccessToken(std::string value, std::string origin) : value_(std::move(value)), origin_(std::move(origin)) {}
  bool is_for(const Url& url) const { return !value_.empty() && url.is_safe() && url.origin() == origin_; }
  bool empty() const { return value_.empty(); }
  const std::string& value() const { return value_; }

 private:
  std::string value_;
  std::string origin_;
};

struct HttpRequest {
  Url url;
  bool head_only = false;
  std::vector<std::string> headers;    // "Range: bytes=10-"
  const AccessToken* token = nullptr;  // sent only if it belongs to this URL
};

// Status and headers of a final answer (no 1xx).
struct HttpHead {
  Url url;
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; of repeated headers the last wins

  std::string header(const std::string& name) const;  // "" when absent
  // Content-Length; nullopt when absent or not a number.
  std::optional<uint64_t> content_length() const;
};

enum class HttpProblem {
  kNone,
  kStopped,      // the receiver asked for it
  kNetwork,      // no connection, connection lost, truncated answer: worth retrying
  kTimeout,      // too slow, or silent: also worth retrying
  kCertificate,  // the server's identity cannot be verified
  kProxy,
  kProtocol,  // not HTTP
};

struct HttpEnd {
  HttpProblem problem = HttpProblem::kNone;
  std::string detail;
};

// Receives one answer, piece by piece, on the thread that runs the client.
class HttpReceiver {
 public:
  enum class Flow { kTake, kWait, kStop };

  virtual ~HttpReceiver() = default;
  // False: stop here, the body is not wanted.
  virtual bool on_head(const HttpHead& head) = 0;
  // kWait: not now; the same bytes are delivered again after HttpClient::resume().
  virtual Flow on_body(std::span<const std::byte> bytes) = 0;
  virtual void on_end(const HttpEnd& end) = 0;
};

}  // namespace millrace
