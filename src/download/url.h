// URLs (RFC 3986), restricted to what a download needs: http and https, a host, no user names. Anything ambiguous is
// rejected, so that no two parsers can disagree about the host.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace millrace {

struct Url {
  std::string scheme;  // "https" or "http"
  std::string host;    // lower case; an IPv6 address stands in brackets
  int port = 443;
  std::string path;  // begins with '/', escaped as it was given
  std::string query;

  // The whole URL, as sent to the server.
  std::string text() const;
  // Without the query, which may hold a signature: for messages.
  std::string shown() const;
  // "https://host:port".
  std::string origin() const;
  // Encrypted, or to this machine itself.
  bool is_safe() const;
};

// nullopt for anything else, for user names and for characters that do not belong in a URL.
std::optional<Url> parse_url(std::string_view text);

// Resolves `reference` (absolute, "//host/path", "/path", "?query" or "path") against `base`. nullopt if the result is
// not a valid URL.
std::optional<Url> resolve_url(const Url& base, std::string_view reference);

// Everything but letters, digits and "-._~" (and "/" unless told so) as %XX.
std::string percent_encode(std::string_view text, bool keep_slash = true);

}  // namespace millrace
