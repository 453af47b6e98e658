#include "download/hugging_face.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "download/safe_path.h"
#include "formats/json.h"
#include "formats/pickle.h"
#include "formats/quote.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxPageBytes = 64 << 20;
constexpr size_t kMaxFiles = 2'000'000, kMaxPages = 20'000;

bool is_plain_name(std::string_view text) {
  const auto is_plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
           c == '-';
  };
  return !text.empty() && text.size() <= 96 && text != "." && text != ".." &&
         std::all_of(text.begin(), text.end(), is_plain);
}

Url api_url(const Url& endpoint, const HubRepository& repository, const std::string& rest) {
  Url url = endpoint;
  url.path += str("/api/", repository.is_dataset ? "datasets/" : "models/", repository.id, rest);
  return url;
}

// The commit that the revision names, or the revision itself if a mirror does not tell.
std::string commit_of(const DownloadContext& context, const Url& endpoint, const HubRepository& repository) {
  const Url url = api_url(endpoint, repository, "/revision/" + percent_encode(repository.revision, false));
  const QueryAnswer answer = fetch(context, url, {.max_bytes = kMaxPageBytes, .pass_refusals = true});
  if (answer.head.status != 200) return repository.revision;
  const nlohmann::json json = parse_json<DataError>(answer.body, url.shown());
  const std::string sha = json.is_object() && json.contains("sha") && json["sha"].is_string() ? json["sha"] : "";
  return is_checksum(ChecksumKind::kGitBlob, sha) ? sha : repository.revision;
}

}  // namespace

std::string HubRepository::name() const {
  return str("hf:", is_dataset ? "datasets/" : "", id, revision == "main" ? "" : "@" + revision);
}

HubRepository parse_repository(std::string_view text) {
  const auto fail = [&]() -> ConfigError {
    return ConfigError(str("[millrace download hf:", text,
                           "] expected hf:OWNER/NAME, hf:datasets/OWNER/NAME, or either with ", "@REVISION, got ",
                           in_quotes(text)));
  };
  HubRepository repository;
  const size_t at = text.find('@');
  if (at != std::string_view::npos) repository.revision = std::string(text.substr(at + 1));
  std::vector<std::string> parts = split(text.substr(0, at), '/');
  if (parts.size() == 3 && (parts[0] == "datasets" || parts[0] == "models")) {
    repository.is_dataset = parts[0] == "datasets";
    parts.erase(parts.begin());
  }
  const std::vector<std::string> revision = split(repository.revision, '/');
  if (parts.size() != 2 || !std::all_of(parts.begin(), parts.end(), is_plain_name)) throw fail();
  if (!std::all_of(revision.begin(), revision.end(), is_plain_name)) throw fail();
  repository.id = parts[0] + "/" + parts[1];
  return repository;
}

Source hub_source(const HubRepository& repository, const Url& endpoint, AccessToken token) {
  Url page = endpoint;
  page.path += (repository.is_dataset ? "/datasets/" : "/") + repository.id;
  return {
      .kind = Source::Kind::kHuggingFace, .name = repository.name(), .page = page.shown(), .token = std::move(token)};
}

std::vector<HubFile> parse_tree_page(std::string_view text, const std::string& place) {
  const nlohmann::json json = parse_json<DataError>(text, place, {.max_depth = 12});
  const auto fail = [&](size_t index, const std::string& expected) -> DataError {
    return DataError(str("[", place, ": entry ", index, "] expected ", expected));
  };
  if (!json.is_array()) throw DataError(str("[", place, "] expected a list of files, got other JSON"));
  const auto text_of = [](const nlohmann::json& object, const char* key) {
    return object.contains(key) && object[key].is_string() ? object[key].get<std::string>() : std::string();
  };
  std::vector<HubFile> files;
  for (size_t i = 0; i < json.size(); ++i) {
    const nlohmann::json& entry = json[i];
    if (!entry.is_object()) throw fail(i, "an object");
    if (text_of(entry, "type") != "file") continue;
    const bool is_large = entry.contains("lfs") && entry["lfs"].is_object();
    const nlohmann::json& holder = is_large ? entry["lfs"] : entry;
    HubFile file;
    file.path = text_of(entry, "path");
    const std::string problem = path_problem(file.path);
    if (!problem.empty()) {
      throw fail(i, str("the name of a file below one folder, got ", problem, " in ", in_quotes(file.path)));
    }
    if (!holder.contains("size") || !holder["size"].is_number_unsigned()) {
      throw fail(i, str("a size of ", in_quotes(file.path)));
    }
    file.size = holder["size"].get<uint64_t>();
    file.checksum = {is_large ? ChecksumKind::kSha256 : ChecksumKind::kGitBlob, to_lower(text_of(holder, "oid"))};
    if (starts_with(file.checksum.hex, "sha256:")) file.checksum.hex.erase(0, 7);
    if (!is_checksum(file.checksum.kind, file.checksum.hex)) {
      throw fail(i, str(is_large ? "a SHA-256 of " : "a git id of ", in_quotes(file.path), ", got ",
                        in_quotes(text_of(holder, "oid"))));
    }
    files.push_back(std::move(file));
  }
  return files;
}

// Link: <https://...>; rel="next", <https://...>; rel="last" (RFC 8288).
std::string next_link(std::string_view header) {
  while (true) {
    const size_t begin = header.find('<');
    if (begin == std::string_view::npos) return "";
    const size_t end = header.find('>', begin);
    if (end == std::string_view::npos) return "";
    const std::string_view target = header.substr(begin + 1, end - begin - 1);
    header.remove_prefix(end + 1);
    const size_t next = header.find(",");
    for (const std::string& parameter : split(header.substr(0, next), ';')) {
      const std::string relation = to_lower(trim(parameter));
      if (relation == "rel=\"next\"" || relation == "rel=next") return std::string(target);
    }
    if (next == std::string_view::npos) return "";
    header.remove_prefix(next + 1);
  }
}

std::vector<std::string> leave_out_pickles(Listing& listing) {
  std::vector<std::string> paths;
  std::erase_if(listing.files, [&](const RemoteFile& file) {
    const bool is_pickle = has_pickle_extension(file.path);
    if (is_pickle) paths.push_back(file.path);
    return is_pickle;
  });
  return paths;
}

Listing list_repository(const DownloadContext& context, const Url& endpoint, const HubRepository& repository) {
  const std::string commit = commit_of(context, endpoint, repository);
  const std::string revision = percent_encode(commit, false);
  Listing listing{
      .source = context.source, .files = {}, .default_folder = repository.id.substr(repository.id.find('/') + 1)};
  Url page = api_url(endpoint, repository, "/tree/" + revision);
  page.query = "recursive=true";
  for (size_t pages = 1;; ++pages) {
    const QueryAnswer answer = fetch(context, page, {.max_bytes = kMaxPageBytes});
    for (HubFile& file : parse_tree_page(answer.body, page.shown())) {
      Url url = endpoint;
      url.path += str(repository.is_dataset ? "/datasets/" : "/", repository.id, "/resolve/", revision, "/",
                      percent_encode(file.path));
      listing.files.push_back({.path = std::move(file.path),
                               .url = std::move(url),
                               .size = file.size,
                               .size_is_listed = true,
                               .checksum = std::move(file.checksum)});
    }
    if (listing.files.size() > kMaxFiles || pages > kMaxPages) {
      throw DataError(
          str("[", context.source.name, "] expected at most ", with_thousands(kMaxFiles), " files, got more"));
    }
    const std::string link = next_link(answer.head.header("link"));
    if (link.empty()) break;
    const std::optional<Url> next = resolve_url(page, link);
    if (!next || next->origin() != endpoint.origin() || next->text() == page.text()) {
      throw DataError(
          str("[", page.shown(), "] expected the next page of the list on the same server, got ", in_quotes(link)));
    }
    page = *next;
  }
  check_listing(listing);
  return listing;
}

}  // namespace millrace
