// One file of a download: what a listing says about it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "download/checksum.h"
#include "download/source.h"

namespace millrace {

struct RemoteFile {
  std::string path;  // below the output folder; path_problem(path) is ""
  Url url;
  std::optional<uint64_t> size;  // bytes
  // Git LFS and MLCommons' lists are sure; a HEAD request is only a hint.
  bool size_is_listed = false;
  Checksum checksum;
};

struct Listing {
  Source source;
  std::vector<RemoteFile> files;  // sorted by path, paths differ
  std::string default_folder;     // what the source itself calls the folder; "." for a single file
};

// Sorts by path. Throws DataError for a path that may not be written, two files of one path, or a file that is also a
// folder of another.
void check_listing(Listing& listing);

}  // namespace millrace
