// Used in builds without libcurl.
#include "base/error.h"
#include "download/http_client.h"

namespace millrace {

struct HttpClient::State {};

HttpClient::HttpClient(const HttpClientOptions&) {
  throw ConfigError(
      "[millrace download] expected a build with libcurl, got one without (try libcurl4-openssl-dev and "
      "scripts/build.sh again, or download on another machine)");
}

HttpClient::~HttpClient() = default;
HttpClient::Id HttpClient::start(const HttpRequest&, HttpReceiver&) {
  return 0;
}
void HttpClient::cancel(Id) {}
void HttpClient::resume(Id) {}
void HttpClient::run(double) {}
void HttpClient::wake() {}

}  // namespace millrace
