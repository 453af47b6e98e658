// The source of a download: its name in messages and its access rights.
#pragma once

#include <string>

#include "download/http.h"

namespace millrace {

struct Source {
  enum class Kind { kMlcommons, kHuggingFace };
  Kind kind = Kind::kMlcommons;
  std::string name;  // for messages: "hf:black-forest-labs/FLUX.1-schnell", ".../flux-1-coco.uri"
  std::string page;  // web page with its description and terms; may be empty
  std::string licence;
  AccessToken token;  // of Hugging Face; may be empty
};

// The meaning of an answer other than success.
struct Refusal {
  enum class Reach {
    kTemporary,   // retry
    kFile,        // this file is unavailable
    kEverything,  // all files are unavailable
  };
  Reach reach = Reach::kFile;
  std::string what;  // "[place] expected X, got Y"
  std::string hint;  // how to fix it; may be empty

  std::string message() const { return what + (hint.empty() ? "" : " (try " + hint + ")"); }
};

// `away`: the answer came from another origin, where a redirect led (a content delivery network).
Refusal judge(const Source& source, const HttpHead& head, bool away);
// The same for a request without an answer. url: the one requested.
Refusal judge(const Source& source, const HttpEnd& end, const Url& url);

// The target of a redirect, after this many earlier ones. Throws DataError for an invalid target, a login page, a step
// from https to http, plain http on another machine, or too many redirects.
Url redirect_target(const Source& source, const HttpHead& head, int redirects_before);
bool is_redirect(int status);

}  // namespace millrace
