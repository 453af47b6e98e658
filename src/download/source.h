// Where a download comes from, as far as its messages and its rights go.
#pragma once

#include <string>

#include "download/http.h"

namespace millrace {

struct Source {
  enum class Kind { kMlcommons, kHuggingFace };
  Kind kind = Kind::kMlcommons;
  std::string name;  // for messages: "hf:black-forest-labs/FLUX.1-schnell", ".../flux-1-coco.uri"
  std::string page;  // where a person reads about it and accepts its terms; may be empty
  std::string licence;
  AccessToken token;  // of Hugging Face; may be empty
};

// What an answer other than success means.
struct Refusal {
  enum class Reach {
    kTemporary,   // ask again
    kFile,        // this file cannot be had
    kEverything,  // nor can any other
  };
  Reach reach = Reach::kFile;
  std::string what;  // "[place] expected X, got Y"
  std::string hint;  // the way out; may be empty

  std::string message() const { return what + (hint.empty() ? "" : " (try " + hint + ")"); }
};

// `away`: the answer came from another origin, where a redirect led (a content delivery network).
Refusal judge(const Source& source, const HttpHead& head, bool away);
// The same for what is no answer at all. url: whom was asked.
Refusal judge(const Source& source, const HttpEnd& end, const Url& url);

// Where a redirect leads, after so many before it. Throws DataError when it leads nowhere, to a login page, from https
// to http, to plain http on another machine, or on and on.
Url redirect_target(const Source& source, const HttpHead& head, int redirects_before);
bool is_redirect(int status);

}  // namespace millrace
