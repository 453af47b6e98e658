// Small requests (lists, sizes): follows redirects, retries failures, keeps the answer in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "download/http_client.h"
#include "download/retry.h"
#include "download/source.h"

namespace millrace {

// Seconds between two checks of the clock and of stop requests.
inline constexpr double kDownloadTick = 0.1;
// An unwanted body (a refusal's, another file's) is drained up to this size, so that the connection can be reused.
inline constexpr uint64_t kMaxIgnoredBytes = 64 << 10;

// Shared by every part of a download. `stop` is polled often; true ends everything by throwing Preempted.
struct DownloadContext {
  HttpClient& client;
  const Source& source;
  RetryOptions retry;
  std::function<bool()> stop = [] { return false; };

  void check_stop() const;
};

struct QueryAnswer {
  HttpHead head;  // status 2xx, or with pass_refusals any other
  std::string body;
};

class Query : private HttpReceiver {
 public:
  struct Options {
    uint64_t max_bytes = 1 << 20;  // of the body
    bool head_only = false;
    bool pass_refusals = false;  // return refusals of this one request (404, 405) instead of throwing
  };
  Query(const DownloadContext& context, Url url, Options options);
  ~Query() override;
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  // Starts what is due. Throws DataError when the server refuses permanently or too often.
  void step(double now);
  bool done() const { return done_; }
  const QueryAnswer& answer() const { return answer_; }

 private:
  bool on_head(const HttpHead& head) override;
  Flow on_body(std::span<const std::byte> bytes) override;
  void on_end(const HttpEnd& end) override;
  void judge_answer();
  void fail_or_retry(const Refusal& refusal, std::optional<double> wait);

  const DownloadContext& context_;
  Url first_url_;
  Url url_;
  Options options_;
  Retry retry_;
  int redirects_ = 0;
  HttpClient::Id running_ = 0;
  bool done_ = false;
  bool too_long_ = false;
  QueryAnswer answer_;
  std::string failure_;
};

// Runs all of them, at most `parallel` at once.
void run_queries(const DownloadContext& context, const std::vector<Query*>& queries, int parallel,
                 const std::function<void(size_t done)>& progress = nullptr);

// One GET, run to completion.
QueryAnswer fetch(const DownloadContext& context, const Url& url, const Query::Options& options);

}  // namespace millrace
