// Hugging Face's own environment variables: the endpoint and the token.
#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "download/hugging_face.h"
#include "formats/quote.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTokenBytes = 4096;

std::string home(const VariableReader& environment) {
  return environment("HOME");
}

// "~/x" under the home folder, as huggingface_hub expands it.
fs::path expanded(const std::string& path, const VariableReader& environment) {
  if (path == "~" || starts_with(path, "~/")) return home(environment) + path.substr(1);
  return path;
}

fs::path token_file(const VariableReader& environment) {
  if (const std::string path = environment("HF_TOKEN_PATH"); !path.empty()) return expanded(path, environment);
  if (const std::string path = environment("HF_HOME"); !path.empty()) return expanded(path, environment) / "token";
  if (const std::string path = environment("XDG_CACHE_HOME"); !path.empty()) {
    return expanded(path, environment) / "huggingface" / "token";
  }
  return fs::path(home(environment)) / ".cache" / "huggingface" / "token";
}

bool is_true(const std::string& value) {
  const std::string lower = to_lower(value);
  return lower == "1" || lower == "on" || lower == "yes" || lower == "true";
}

}  // namespace

Url hub_endpoint(const VariableReader& environment) {
  std::string text = environment("HF_ENDPOINT");
  if (text.empty()) text = "https://huggingface.co";
  while (ends_with(text, "/")) text.pop_back();
  std::optional<Url> url = parse_url(text);
  if (!url || !url->query.empty() || !url->is_safe()) {
    throw ConfigError(str("[HF_ENDPOINT] expected an https URL, got ", in_quotes(text)));
  }
  if (url->path == "/") url->path.clear();
  return *url;
}

AccessToken hub_token(const VariableReader& environment, const Url& endpoint) {
  std::string place = "HF_TOKEN", text = environment("HF_TOKEN");
  if (trim(text).empty()) text = environment("HUGGING_FACE_HUB_TOKEN");
  if (trim(text).empty()) {
    if (is_true(environment("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return {};
    const fs::path file = token_file(environment);
    std::error_code error;
    if (!fs::is_regular_file(file, error)) return {};
    text = read_file(file, kMaxTokenBytes);
    place = file.string();
  }
  const std::string token(trim(text));
  if (token.empty()) return {};
  // A line break in it would add a header to each request.
  if (token.size() > 1024 || !std::all_of(token.begin(), token.end(), [](char c) { return c > 0x20 && c < 0x7F; })) {
    throw ConfigError(
        str("[", place, "] expected a token (one word, like hf_...), got ", token.size(), " bytes of something else"));
  }
  return {token, endpoint.origin()};
}

}  // namespace millrace
