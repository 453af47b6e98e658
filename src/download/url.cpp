#include "download/url.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <vector>

#include "base/text.h"

namespace millrace {
namespace {

constexpr size_t kMaxUrl = 16384;

bool is_alphanumeric(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 && static_cast<unsigned char>(c) < 0x80;
}

// Printable ASCII that RFC 3986 allows in a path or a query.
bool is_url_character(char c) {
  return is_alphanumeric(c) || (c != '\0' && std::string_view("-._~:/?@!$&'()*+,;=%[]").find(c) != std::string::npos);
}

bool is_host_name(std::string_view host) {
  if (host.empty() || host.size() > 253 || host.front() == '.' || host.front() == '-') return false;
  return std::all_of(host.begin(), host.end(), [](char c) { return is_alphanumeric(c) || c == '-' || c == '.'; }) &&
         host.find("..") == std::string_view::npos;
}

bool is_ipv6_literal(std::string_view host) {
  if (host.size() < 4 || host.front() != '[' || host.back() != ']') return false;
  const std::string_view inside = host.substr(1, host.size() - 2);
  return std::all_of(inside.begin(), inside.end(),
                     [](char c) { return std::isxdigit(static_cast<unsigned char>(c)) != 0 || c == ':' || c == '.'; });
}

int default_port(const std::string& scheme) {
  return scheme == "https" ? 443 : 80;
}

// "host" or "host:port" into url.
bool parse_authority(std::string_view authority, Url& url) {
  const size_t bracket = authority.rfind(']');
  const size_t colon = authority.find(':', bracket == std::string_view::npos ? 0 : bracket);
  url.host = to_lower(authority.substr(0, colon));
  if (!is_host_name(url.host) && !is_ipv6_literal(url.host)) return false;
  url.port = default_port(url.scheme);
  if (colon == std::string_view::npos) return true;
  const std::string_view digits = authority.substr(colon + 1);
  if (digits.empty() || digits.size() > 5 || digits.find_first_not_of("0123456789") != std::string_view::npos) {
    return false;
  }
  url.port = std::stoi(std::string(digits));
  return url.port > 0 && url.port < 65536;
}

// Removes "." and ".." from a path (RFC 3986, 5.2.4).
std::string without_dot_segments(std::string_view path) {
  std::vector<std::string> kept;
  const std::vector<std::string> segments = split(path.substr(1), '/');
  for (size_t i = 0; i < segments.size(); ++i) {
    const bool last = i + 1 == segments.size();
    if (segments[i] == "..") {
      if (!kept.empty()) kept.pop_back();
      if (last) kept.emplace_back();
    } else if (segments[i] == ".") {
      if (last) kept.emplace_back();
    } else {
      kept.push_back(segments[i]);
    }
  }
  return "/" + join(kept, "/");
}

}  // namespace

std::string Url::origin() const {
  return scheme + "://" + host + ":" + std::to_string(port);
}

std::string Url::shown() const {
  return scheme + "://" + host + (port == default_port(scheme) ? "" : ":" + std::to_string(port)) + path;
}

std::string Url::text() const {
  return shown() + (query.empty() ? "" : "?" + query);
}

bool Url::is_safe() const {
  if (scheme == "https") return true;
  if (host == "localhost" || host == "[::1]") return true;
  // 127.0.0.0/8, but not names that only begin like it.
  return starts_with(host, "127.") && host.find_first_not_of("0123456789.") == std::string::npos;
}

std::optional<Url> parse_url(std::string_view text) {
  if (text.size() > kMaxUrl) return std::nullopt;
  const size_t colon = text.find("://");
  if (colon == std::string_view::npos) return std::nullopt;
  Url url;
  url.scheme = to_lower(text.substr(0, colon));
  if (url.scheme != "https" && url.scheme != "http") return std::nullopt;
  std::string_view rest = text.substr(colon + 3);
  rest = rest.substr(0, rest.find('#'));
  const size_t end = rest.find_first_of("/?");
  if (!parse_authority(rest.substr(0, end), url)) return std::nullopt;
  const std::string_view target = end == std::string_view::npos ? std::string_view() : rest.substr(end);
  if (!std::all_of(target.begin(), target.end(), is_url_character)) return std::nullopt;
  const size_t question = target.find('?');
  url.path = std::string(target.substr(0, question));
  if (url.path.empty()) url.path = "/";
  if (question != std::string_view::npos) url.query = std::string(target.substr(question + 1));
  return url;
}

std::optional<Url> resolve_url(const Url& base, std::string_view reference) {
  reference = trim(reference);
  if (reference.size() > kMaxUrl) return std::nullopt;
  const size_t colon = reference.find(':');
  if (colon != std::string_view::npos && colon < reference.find_first_of("/?#")) return parse_url(reference);
  if (starts_with(reference, "//")) return parse_url(base.scheme + ":" + std::string(reference));
  reference = reference.substr(0, reference.find('#'));
  const size_t question = reference.find('?');
  std::string path(reference.substr(0, question));
  if (path.empty()) {
    path = base.path;
  } else if (path.front() != '/') {
    path = base.path.substr(0, base.path.rfind('/') + 1) + path;
  }
  Url origin = base;
  origin.path.clear();
  origin.query.clear();
  std::string query;
  if (question != std::string_view::npos) {
    query = std::string(reference.substr(question));
  } else if (reference.empty() && !base.query.empty()) {
    query = "?" + base.query;
  }
  return parse_url(origin.text() + without_dot_segments(path) + query);
}

std::string percent_encode(std::string_view text, bool keep_slash) {
  static constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (is_alphanumeric(c) || c == '-' || c == '.' || c == '_' || c == '~' || (keep_slash && c == '/')) {
      encoded += c;
    } else {
      encoded += '%';
      encoded += kDigits[byte >> 4];
      encoded += kDigits[byte & 15];
    }
  }
  return encoded;
}

}  // namespace millrace
