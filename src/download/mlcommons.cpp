#include "download/mlcommons.h"

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "download/safe_path.h"
#include "formats/quote.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxUriBytes = 64 << 10, kMaxListBytes = 256 << 20;

[[noreturn]] void fail(const std::string& place, const std::string& expected, const std::string& got) {
  throw DataError(str("[", place, "] expected ", expected, ", got ", got));
}

}  // namespace

Url parse_uri_file(std::string_view text, const std::string& place) {
  std::string_view line = trim(text);
  while (ends_with(line, "/")) line.remove_suffix(1);
  std::optional<Url> url = parse_url(line);
  if (!url || !url->query.empty()) fail(place, "one line with the URL of the data", in_quotes(trim(text)));
  if (!url->is_safe()) fail(place, "a URL with https", in_quotes(line));
  return *url;
}

std::vector<std::pair<Checksum, std::string>> parse_md5_list(std::string_view text, const std::string& place) {
  std::vector<std::pair<Checksum, std::string>> files;
  size_t number = 0;
  while (!text.empty()) {
    ++number;
    const size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (ends_with(line, "\r")) line.remove_suffix(1);
    if (trim(line).empty()) continue;
    const size_t digits = hex_length(ChecksumKind::kMd5);
    const std::string hex = to_lower(line.substr(0, digits));
    const std::string_view separator = line.size() > digits + 2 ? line.substr(digits, 2) : std::string_view();
    if (!is_checksum(ChecksumKind::kMd5, hex) || (separator != "  " && separator != " *")) {
      fail(str(place, ":", number), "\"<md5>  <path>\"", in_quotes(line));
    }
    std::string path(line.substr(digits + 2));
    while (starts_with(path, "./")) path.erase(0, 2);
    const std::string problem = path_problem(path);
    if (!problem.empty()) {
      fail(str(place, ":", number), "the name of a file below one folder", problem + " in " + in_quotes(path));
    }
    files.emplace_back(Checksum{ChecksumKind::kMd5, hex}, std::move(path));
  }
  if (files.empty()) fail(place, "a list of files", "an empty one");
  return files;
}

Listing list_mlcommons(const DownloadContext& context, const Url& uri) {
  Url list = uri;
  list.path.replace(list.path.rfind(".uri"), 4, ".md5");
  const Url base = parse_uri_file(fetch(context, uri, {.max_bytes = kMaxUriBytes}).body, uri.shown());
  const std::string text = fetch(context, list, {.max_bytes = kMaxListBytes}).body;
  Listing listing{.source = context.source, .files = {}, .default_folder = "."};
  for (auto& [checksum, path] : parse_md5_list(text, list.shown())) {
    Url url = base;
    if (url.path == "/") url.path.clear();
    url.path += "/" + percent_encode(path);
    listing.files.push_back({.path = std::move(path), .url = std::move(url), .size = {}, .checksum = checksum});
  }
  check_listing(listing);
  // Like MLCommons' own downloader: a single file goes into the current folder, other data sets into their own.
  const std::string folder = base.path.substr(base.path.rfind('/') + 1);
  if (listing.files.size() > 1 && path_problem(folder).empty()) listing.default_folder = folder;
  return listing;
}

}  // namespace millrace
