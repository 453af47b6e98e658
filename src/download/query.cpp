#include "download/query.h"

#include <algorithm>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"

namespace millrace {
void DownloadContext::check_stop() const {
  if (stop()) throw Preempted("[millrace download] stopped on request (try the same command to resume)");
}

Query::Query(const DownloadContext& context, Url url, Options options)
    : context_(context), first_url_(url), url_(std::move(url)), options_(options), retry_(context.retry) {}

Query::~Query() {
  if (running_ != 0) context_.client.cancel(running_);
}

void Query::step(double now) {
  if (!failure_.empty()) throw DataError(failure_);
  if (done_ || running_ != 0 || now < retry_.ready_at()) return;
  answer_ = {};
  too_long_ = false;
  HttpRequest request{.url = url_, .head_only = options_.head_only, .headers = {}, .token = &context_.source.token};
  running_ = context_.client.start(request, *this);
}

bool Query::on_head(const HttpHead& head) {
  answer_.head = head;
  return true;
}

HttpReceiver::Flow Query::on_body(std::span<const std::byte> bytes) {
  const bool wanted = answer_.head.status >= 200 && answer_.head.status < 300;
  if (answer_.body.size() + bytes.size() > (wanted ? options_.max_bytes : kMaxIgnoredBytes)) {
    too_long_ = wanted;
    return Flow::kStop;
  }
  answer_.body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return Flow::kTake;
}

void Query::on_end(const HttpEnd& end) {
  running_ = 0;
  if (end.problem == HttpProblem::kNone || end.problem == HttpProblem::kStopped) {
    judge_answer();
  } else {
    fail_or_retry(judge(context_.source, end, url_), std::nullopt);
  }
}

void Query::judge_answer() {
  const HttpHead& head = answer_.head;
  if (too_long_) {
    failure_ = str("[", url_.shown(), "] expected at most ", options_.max_bytes, " bytes, got more");
  } else if (is_redirect(head.status)) {
    url_ = redirect_target(context_.source, head, redirects_++);
    step(now_seconds());
  } else if (head.status >= 200 && head.status < 300) {
    done_ = true;
  } else {
    const Refusal refusal = judge(context_.source, head, url_.origin() != first_url_.origin());
    done_ = options_.pass_refusals && refusal.reach == Refusal::Reach::kFile;
    if (!done_) fail_or_retry(refusal, server_wait(head, unix_milliseconds() / 1000));
  }
}

void Query::fail_or_retry(const Refusal& refusal, std::optional<double> wait) {
  url_ = first_url_;
  redirects_ = 0;
  const double now = now_seconds();
  const bool too_far = wait.value_or(0) > kLongestServerWait;
  if (refusal.reach == Refusal::Reach::kTemporary && !too_far && retry_.again(now, wait)) {
    log_warning(refusal.what, "; asking again in ", format_double("%.1f", retry_.ready_at() - now), " s");
    return;
  }
  failure_ = refusal.message();
}

void run_queries(const DownloadContext& context, const std::vector<Query*>& queries, int parallel,
                 const std::function<void(size_t)>& progress) {
  size_t first = 0;  // all earlier ones are done
  while (true) {
    context.check_stop();
    while (first < queries.size() && queries[first]->done()) ++first;
    if (first == queries.size()) return;
    size_t done = first;
    int active = 0;
    for (size_t i = first; i < queries.size() && active < parallel; ++i) {
      if (queries[i]->done()) {
        ++done;
        continue;
      }
      queries[i]->step(now_seconds());
      ++active;
    }
    if (progress) progress(done);
    context.client.run(kDownloadTick);
  }
}

QueryAnswer fetch(const DownloadContext& context, const Url& url, const Query::Options& options) {
  Query query(context, url, options);
  run_queries(context, {&query}, 1);
  return query.answer();
}

}  // namespace millrace
