// HTTP requests and what comes of them. The client (http_client.h) neither follows redirects nor tries again: who asks
// decides that.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "download/url.h"

namespace millrace {

// A secret for one origin. It goes into the Authorization header of requests to that origin and nowhere else.
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
  const AccessToken* token = nullptr;  // sent only when it is for this URL
};

// Status and headers of a final answer (no 1xx).
struct HttpHead {
  Url url;
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; the last of several wins

  std::string header(const std::string& name) const;  // "" when absent
  // Content-Length; nullopt when absent or no number.
  std::optional<uint64_t> content_length() const;
};

enum class HttpProblem {
  kNone,
  kStopped,      // the receiver asked for it
  kNetwork,      // no connection, connection lost, answer cut short: worth trying again
  kTimeout,      // too slow, or silent: likewise
  kCertificate,  // the server cannot show who it is
  kProxy,
  kProtocol,  // not HTTP
};

struct HttpEnd {
  HttpProblem problem = HttpProblem::kNone;
  std::string detail;
};

// Gets one answer, piece by piece, on the thread that runs the client.
class HttpReceiver {
 public:
  enum class Flow { kTake, kWait, kStop };

  virtual ~HttpReceiver() = default;
  // False: the body is not wanted, end here.
  virtual bool on_head(const HttpHead& head) = 0;
  // kWait: not now; the same bytes come again after HttpClient::resume().
  virtual Flow on_body(std::span<const std::byte> bytes) = 0;
  virtual void on_end(const HttpEnd& end) = 0;
};

}  // namespace millrace
