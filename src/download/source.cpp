#include "download/source.h"

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "download/retry.h"
#include "formats/quote.h"

namespace millrace {
namespace {

constexpr int kMaxRedirects = 8;

Refusal refusal(Refusal::Reach reach, const std::string& place, const std::string& expected, const std::string& got,
                const std::string& hint) {
  return {reach, str("[", place, "] expected ", expected, ", got ", got), hint};
}

// "403 (Access to model ... is restricted)": the server's text is shown, but escaped as untrusted.
std::string status_text(const HttpHead& head) {
  const std::string message = head.header("x-error-message");
  return str("status ", head.status, message.empty() ? "" : " " + in_quotes(message));
}

Refusal judge_hugging_face(const Source& source, const HttpHead& head) {
  using Reach = Refusal::Reach;
  static const std::string kMakeToken = "a read token from https://huggingface.co/settings/tokens in HF_TOKEN";
  const std::string code = head.header("x-error-code");
  const bool has_token = !source.token.empty();
  if (head.status == 401 && code == "GatedRepo" && !has_token) {
    return refusal(Reach::kEverything, source.name, "access to this gated repository", status_text(head),
                   str("to accept its terms at ", source.page, ", then ", kMakeToken));
  }
  if (head.status == 401 && has_token && code != "RepoNotFound") {
    return refusal(Reach::kEverything, source.name, "a token that Hugging Face accepts", status_text(head), kMakeToken);
  }
  if (head.status == 403 || code == "GatedRepo") {
    return refusal(Reach::kEverything, source.name, "access to this repository", status_text(head),
                   str(has_token ? "" : kMakeToken + ", and ", "to visit ", source.page,
                       " and accept its terms with the token's account; a fine-grained token must allow reading gated "
                       "repositories"));
  }
  if (head.status == 401 || code == "RepoNotFound") {
    return refusal(Reach::kEverything, source.name, "a repository that is there and public", status_text(head),
                   has_token ? "the name, or the token of an account that may see it"
                             : "the name; for a private repository " + kMakeToken);
  }
  if (code == "RevisionNotFound") {
    return refusal(Reach::kEverything, source.name, "a branch, tag or commit of this repository", status_text(head),
                   "@main");
  }
  return refusal(Reach::kFile, head.url.shown(), "the file", status_text(head), "");
}

}  // namespace

bool is_redirect(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

Refusal judge(const Source& source, const HttpHead& head, bool away) {
  using Reach = Refusal::Reach;
  const std::string place = head.url.shown();
  if (is_temporary(head.status)) {
    const bool limited = head.status == 429;
    return refusal(Reach::kTemporary, place, limited ? "to be served" : "a working server", status_text(head),
                   limited && source.kind == Source::Kind::kHuggingFace && source.token.empty()
                       ? "later, or with HF_TOKEN: its limits are higher"
                       : "later");
  }
  if (head.status == 407) {
    return refusal(Reach::kEverything, place, "access through the proxy", status_text(head),
                   "user and password in https_proxy");
  }
  // A signed address of a content delivery network has expired: the next try gets a new one.
  if (away && (head.status == 400 || head.status == 401 || head.status == 403)) {
    return refusal(Reach::kTemporary, place, "the file", status_text(head), "later");
  }
  if (head.status == 416) {
    return refusal(Reach::kFile, place, "the file from its beginning", status_text(head), "");
  }
  if (source.kind == Source::Kind::kHuggingFace) return judge_hugging_face(source, head);
  if (head.status == 401 || head.status == 403) {
    return refusal(Reach::kEverything, place, "a public data set", status_text(head),
                   "MLCommons' own downloader where a licence must be signed first");
  }
  return refusal(Reach::kFile, place, "the file", status_text(head), "");
}

Refusal judge(const Source&, const HttpEnd& end, const Url& url) {
  using Reach = Refusal::Reach;
  const std::string got = in_quotes(end.detail);
  switch (end.problem) {
    case HttpProblem::kCertificate:
      return refusal(Reach::kEverything, url.shown(), "a certificate that a known authority has signed", got,
                     "CURL_CA_BUNDLE=FILE with the authority of your proxy or server; the clock of this machine");
    case HttpProblem::kProxy:
      return refusal(Reach::kEverything, url.shown(), "to reach it through the proxy of https_proxy", got, "");
    case HttpProblem::kProtocol:
      return refusal(Reach::kFile, url.shown(), "an answer in HTTP", got, "");
    case HttpProblem::kTimeout:
      return refusal(Reach::kTemporary, url.shown(), "an answer in time", got, "later, or a longer --timeout");
    case HttpProblem::kNone:
    case HttpProblem::kStopped:
    case HttpProblem::kNetwork:
      break;
  }
  return refusal(Reach::kTemporary, url.shown(), "a stable connection", got, "later");
}

Url redirect_target(const Source& source, const HttpHead& head, int redirects_before) {
  const std::string location = head.header("location");
  const auto fail = [&](const std::string& expected, const std::string& got) -> DataError {
    return DataError(str("[", head.url.shown(), "] expected ", expected, ", got ", got));
  };
  if (redirects_before >= kMaxRedirects) throw fail(str("at most ", kMaxRedirects, " redirects"), "more");
  if (location.empty()) throw fail("a redirect with a target", str("status ", head.status, " without Location"));
  const std::optional<Url> target = resolve_url(head.url, location);
  if (!target) throw fail("a redirect to a URL", in_quotes(location));
  const bool is_login =
      ends_with(target->host, ".cloudflareaccess.com") || starts_with(target->path, "/cdn-cgi/access/");
  if (is_login && source.kind == Source::Kind::kMlcommons) {
    throw fail("a public data set",
               "a login page: MLCommons requires a signed licence and its own downloader for this one");
  }
  if (!target->is_safe() || (head.url.scheme == "https" && target->scheme != "https")) {
    throw fail("a redirect to https", target->shown());
  }
  return *target;
}

}  // namespace millrace
