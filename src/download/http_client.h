// Many HTTP requests at once on one thread, over libcurl. HTTP/1.1, so that each transfer has its own connection.
// Proxies come from the environment (https_proxy, no_proxy, ...), certificate authorities from CURL_CA_BUNDLE,
// SSL_CERT_FILE or SSL_CERT_DIR, else from the system.
#pragma once

#include <memory>
#include <string>

#include "download/http.h"

namespace millrace {

struct HttpClientOptions {
  double connect_seconds = 30;  // name, connection and TLS
  double stall_seconds = 60;    // give up when slower than 1 KiB/s for this long
  std::string user_agent = "millrace";
};

class HttpClient {
 public:
  // Throws ConfigError in a build without libcurl.
  explicit HttpClient(const HttpClientOptions& options);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  using Id = int;
  // The receiver must live until its on_end() or cancel(). From within its calls it may start and cancel other
  // requests, but not its own.
  Id start(const HttpRequest& request, HttpReceiver& receiver);
  void cancel(Id id);  // no on_end() follows
  void resume(Id id);  // after Flow::kWait

  // Does pending work, waits for more at most this long, and calls the receivers.
  void run(double seconds);
  // From any thread: makes run() return soon.
  void wake();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace millrace
