// Repositories of Hugging Face: names, the token, and the list of files from the hub's API
// (https://huggingface.co/docs/hub/api; the fields are the ones huggingface_hub reads).
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "download/query.h"
#include "download/remote_file.h"

namespace millrace {

struct HubRepository {
  bool is_dataset = false;
  std::string id;                 // "OWNER/NAME"
  std::string revision = "main";  // branch, tag or commit

  std::string name() const;  // "hf:datasets/OWNER/NAME@v1", as parse_repository takes it
};

// Parses "[datasets/]OWNER/NAME[@REVISION]", the part after "hf:". Throws ConfigError.
HubRepository parse_repository(std::string_view text);

// Reads environment variables, as std::getenv; "" when unset.
using VariableReader = std::function<std::string(const std::string& name)>;

// HF_ENDPOINT, else https://huggingface.co. Throws ConfigError unless it is an https URL (or http to this machine).
Url hub_endpoint(const VariableReader& environment);

// HF_TOKEN (or HUGGING_FACE_HUB_TOKEN), else the content of the file HF_TOKEN_PATH, HF_HOME/token,
// XDG_CACHE_HOME/huggingface/token or ~/.cache/huggingface/token, as huggingface_hub finds it; empty when there is none
// or HF_HUB_DISABLE_IMPLICIT_TOKEN is set. For the endpoint only. Throws ConfigError, without showing it, for a token
// that cannot be one.
AccessToken hub_token(const VariableReader& environment, const Url& endpoint);

// The source, for error messages and access rights.
Source hub_source(const HubRepository& repository, const Url& endpoint, AccessToken token);

struct HubFile {
  std::string path;
  uint64_t size = 0;
  Checksum checksum;  // SHA-256 of large files (LFS), git's SHA-1 of others
};
// The files of one page of /api/models/OWNER/NAME/tree/REVISION?recursive=true; folders are left out. Throws DataError.
std::vector<HubFile> parse_tree_page(std::string_view json, const std::string& place);

// The URL of rel="next" in a Link header; "" when there is none.
std::string next_link(std::string_view header);

// Removes files with the names of pickles: millrace never opens them, and a repository often also holds the same
// weights as safetensors. Returns their paths.
std::vector<std::string> leave_out_pickles(Listing& listing);

// Lists all files at the commit that the revision names now, so that a push during the download has no effect.
Listing list_repository(const DownloadContext& context, const Url& endpoint, const HubRepository& repository);

}  // namespace millrace
