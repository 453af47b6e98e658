#include "download/transfer.h"

#include <charconv>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/quote.h"

namespace millrace {
namespace {

// How often a file may change during its download, and how often its checksum may be wrong.
constexpr int kMaxFreshStarts = 4, kMaxMismatches = 2;
// Less does not count as progress that resets the retries.
constexpr uint64_t kProgressBytes = 64 << 10;

struct ContentRange {
  uint64_t first = 0;
  std::optional<uint64_t> total;
};

// "bytes 200-999/1000", or "/*" when the server does not know.
std::optional<ContentRange> parse_content_range(std::string_view text) {
  if (!starts_with(text, "bytes ")) return std::nullopt;
  text.remove_prefix(6);
  const auto number = [&](char stop) -> std::optional<uint64_t> {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const auto used = static_cast<size_t>(end - text.data());
    if (error != std::errc() || (stop == '\0' ? used != text.size() : used >= text.size() || text[used] != stop)) {
      return std::nullopt;
    }
    text.remove_prefix(std::min(text.size(), used + 1));
    return value;
  };
  ContentRange range;
  const auto first = number('-');
  const auto last = first ? number('/') : std::nullopt;
  if (!first || !last || *last < *first) return std::nullopt;
  range.first = *first;
  if (text == "*") return range;
  range.total = number('\0');
  if (!range.total || *range.total <= *last) return std::nullopt;
  return range;
}

// The ETag if it is a strong one (the same ETag means the same bytes); else "".
std::string strong_etag(const HttpHead& head) {
  const std::string etag = head.header("etag");
  return etag.size() >= 2 && etag.front() == '"' && etag.back() == '"' ? etag : "";
}

}  // namespace

Transfer::Transfer(const DownloadContext& context, const Folder& root, const Folder& state_folder,
                   const RemoteFile& file)
    : context_(context), root_(root), state_folder_(state_folder), file_(file), url_(file.url), retry_(context.retry) {
  part_.emplace(state_folder_, file_, [client = &context_.client] { client->wake(); });
}

Transfer::~Transfer() {
  if (running_ != 0) context_.client.cancel(running_);
}

void Transfer::step(double now, double not_before) {
  switch (phase_) {
    case Phase::kChecking:
      if (part_->is_busy()) return;
      furthest_ = part_->size();
      phase_ = Phase::kWaiting;
      if (file_.size == part_->size()) {
        finish();
        return;
      }
      [[fallthrough]];
    case Phase::kWaiting:
      if (now >= retry_.ready_at() && now >= not_before) request();
      return;
    case Phase::kReceiving:
      if (!part_->is_full() && paused_) {
        paused_ = false;
        context_.client.resume(running_);
      }
      return;
    case Phase::kFinishing:
      check_finished();
      return;
    case Phase::kDone:
    case Phase::kFailed:
      return;
  }
}

void Transfer::request() {
  HttpRequest request{.url = url_, .headers = {}, .token = &context_.source.token};
  has_range_ = part_->size() > 0;
  if (has_range_) {
    request.headers.push_back(str("Range: bytes=", part_->size(), "-"));
    // The name is valid only for the server that gave it; data from another server is judged by its checksum.
    const PartNote& note = part_->note();
    if (!note.etag.empty() && note.origin == url_.origin()) request.headers.push_back("If-Range: " + note.etag);
  }
  head_ = {};
  takes_body_ = false;
  ignored_bytes_ = 0;
  unusable_.clear();
  phase_ = Phase::kReceiving;
  running_ = context_.client.start(request, *this);
}

bool Transfer::on_head(const HttpHead& head) {
  head_ = head;
  if (head.status != 200 && head.status != 206) return true;
  const std::string encoding = to_lower(head.header("content-encoding"));
  if (!encoding.empty() && encoding != "identity") {
    unusable_ = "bytes as they are stored, got Content-Encoding " + in_quotes(encoding);
    return false;
  }
  return head.status == 206 ? take_partial(head) : take_whole(head);
}

std::string Transfer::size_problem(std::optional<uint64_t> total) {
  if (!total) return file_.size ? "" : "an answer that says its size, got one without Content-Length";
  if (file_.size == total) return "";
  if (file_.size_is_listed)
    return str(with_thousands(*file_.size), " bytes, got an answer of ", with_thousands(*total));
  file_.size = total;
  return "";
}

bool Transfer::take_whole(const HttpHead& head) {
  unusable_ = size_problem(head.content_length());
  if (!unusable_.empty()) return false;
  const std::string etag = strong_etag(head);
  if (part_->size() > 0) {
    // The server cannot continue, or its file has changed.
    const PartNote& note = part_->note();
    const bool is_same = etag == note.etag && note.origin == head.url.origin();
    if (!is_same && ++fresh_starts_ > kMaxFreshStarts) {
      unusable_ = "a file that stays the same while it is downloaded, got a changed one repeatedly";
      return false;
    }
    start_over(is_same ? "the server cannot continue a file" : "the server sends the file from its beginning");
  }
  part_->set_server(etag, head.url.origin());
  takes_body_ = true;
  return true;
}

bool Transfer::take_partial(const HttpHead& head) {
  const auto range = parse_content_range(head.header("content-range"));
  if (!has_range_ || !range || range->first != part_->size()) {
    unusable_ = str("the bytes from ", part_->size(), " on, got the range ", in_quotes(head.header("content-range")));
    return false;
  }
  const uint64_t known = file_.size.value_or(0);
  unusable_ = size_problem(range->total ? range->total : file_.size);
  if (unusable_.empty() && known != 0 && file_.size != known) {
    unusable_ = str(with_thousands(known), " bytes, got an answer of ", with_thousands(*file_.size));
  }
  const std::string etag = strong_etag(head);
  const PartNote& note = part_->note();
  if (unusable_.empty() && !etag.empty() && !note.etag.empty() && note.origin == head.url.origin() &&
      etag != note.etag) {
    unusable_ = "the content " + in_quotes(note.etag) + ", got " + in_quotes(etag);
  }
  if (!unusable_.empty()) return false;
  if (!etag.empty()) part_->set_server(etag, head.url.origin());
  takes_body_ = true;
  return true;
}

HttpReceiver::Flow Transfer::on_body(std::span<const std::byte> bytes) {
  if (!takes_body_) {
    ignored_bytes_ += bytes.size();
    return ignored_bytes_ > kMaxIgnoredBytes ? Flow::kStop : Flow::kTake;
  }
  if (part_->is_full()) {
    paused_ = true;
    return Flow::kWait;
  }
  if (file_.size && bytes.size() > *file_.size - part_->size()) {
    unusable_ = str(with_thousands(*file_.size), " bytes, got more");
    return Flow::kStop;
  }
  part_->append(bytes);
  received_ += bytes.size();
  return Flow::kTake;
}

void Transfer::on_end(const HttpEnd& end) {
  running_ = 0;
  paused_ = false;
  if (part_->size() >= furthest_ + kProgressBytes) {
    furthest_ = part_->size();
    retry_.made_progress();
  }
  if (end.problem == HttpProblem::kNone || end.problem == HttpProblem::kStopped) {
    end_of_answer();
  } else {
    retry_or_fail(judge(context_.source, end, url_), std::nullopt);
  }
}

void Transfer::end_of_answer() {
  if (!unusable_.empty()) {
    // A part that does not match the answer may be the reason.
    const Refusal refusal{Refusal::Reach::kTemporary, str("[", url_.shown(), "] expected ", unusable_), ""};
    if (part_->size() > 0) start_over(unusable_);
    if (++fresh_starts_ > kMaxFreshStarts) {
      fail({Refusal::Reach::kFile, refusal.what, "later"});
    } else {
      retry_or_fail(refusal, std::nullopt);
    }
  } else if (takes_body_ && file_.size && part_->size() < *file_.size) {
    retry_or_fail({Refusal::Reach::kTemporary,
                   str("[", url_.shown(), "] expected ", with_thousands(*file_.size), " bytes, got ",
                       with_thousands(part_->size())),
                   "later"},
                  std::nullopt);
  } else if (takes_body_) {
    finish();
  } else if (is_redirect(head_.status)) {
    try {
      url_ = redirect_target(context_.source, head_, redirects_++);
      request();
    } catch (const DataError& error) {
      fail({Refusal::Reach::kEverything, error.what(), ""});
    }
  } else if (head_.status == 416 && has_range_ && ++fresh_starts_ <= kMaxFreshStarts) {
    start_over("the server has no bytes after those that are there");
    retry_or_fail(
        {Refusal::Reach::kTemporary, str("[", url_.shown(), "] expected more bytes, got status 416"), "later"},
        std::nullopt);
  } else {
    retry_or_fail(judge(context_.source, head_, url_.origin() != file_.url.origin()),
                  server_wait(head_, unix_milliseconds() / 1000));
  }
}

void Transfer::finish() {
  phase_ = Phase::kFinishing;
  part_->finish(*root_.parent_of(file_.path, true), file_name_of(file_.path));
}

void Transfer::check_finished() {
  const auto& result = part_->finished();
  if (!result) return;
  if (result->matches) {
    result_ = result->state;
    phase_ = Phase::kDone;
    return;
  }
  const std::string what =
      str("[", file_.path, "] expected the checksum ", file_.checksum.text(), ", got ", result->got.text());
  if (++mismatches_ < kMaxMismatches) {
    log_warning(what, "; discarded, downloading it once more");
    part_.emplace(state_folder_, file_, [client = &context_.client] { client->wake(); });
    url_ = file_.url;
    redirects_ = 0;
    phase_ = Phase::kChecking;
    return;
  }
  fail({Refusal::Reach::kFile, what + " again, and discarded it", "later, or ask its publisher"});
}

void Transfer::start_over(const std::string& why) {
  log_warning("[", file_.path, "] ", why, "; starting over");
  part_->restart();
}

void Transfer::retry_or_fail(const Refusal& refusal, std::optional<double> wait) {
  url_ = file_.url;
  redirects_ = 0;
  const double now = now_seconds();
  const bool too_far = wait.value_or(0) > kLongestServerWait;
  if (refusal.reach != Refusal::Reach::kTemporary || too_far || !retry_.again(now, wait)) {
    fail(refusal);
    return;
  }
  phase_ = Phase::kWaiting;
  if (wait) server_wait_until_ = retry_.ready_at();
  log_warning(refusal.what, "; again in ", format_double("%.1f", retry_.ready_at() - now), " s");
}

void Transfer::fail(Refusal refusal) {
  failure_ = std::move(refusal);
  phase_ = Phase::kFailed;
}

}  // namespace millrace
