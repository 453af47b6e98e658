// Data sets in MLCommons' buckets. A metadata file NAME.uri holds one line, the URL of the folder with the data;
// NAME.md5 beside it lists the files, one a line as md5sum writes them: "<32 hex digits>  <path below that folder>".
// (Derived from the published lists of mlcommons/r2-infra and the MLCommons R2 Downloader.)
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "download/query.h"
#include "download/remote_file.h"

namespace millrace {

// The text of a .uri file as an https URL without a trailing slash. Throws DataError.
Url parse_uri_file(std::string_view text, const std::string& place);

// (checksum, path) of each line; a leading "./" of a path is dropped, and '*' before the path (binary mode) accepted.
// Throws DataError for anything else.
std::vector<std::pair<Checksum, std::string>> parse_md5_list(std::string_view text, const std::string& place);

// Reads both files. uri: of the .uri file. Sizes are not in the lists.
Listing list_mlcommons(const DownloadContext& context, const Url& uri);

}  // namespace millrace
