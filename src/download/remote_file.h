// One file of a download, as listed by its source.
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
  // Sizes from Git LFS and MLCommons' lists are certain; those from a HEAD request are only hints.
  bool size_is_listed = false;
  Checksum checksum;
};

struct Listing {
  Source source;
  std::vector<RemoteFile> files;  // sorted by path; paths are unique
  std::string default_folder;     // the source's own name for the folder; "." for a single file
};

// Sorts by path. Throws DataError for a path that may not be written, a repeated path, or a file that is also a folder
// of another file.
void check_listing(Listing& listing);

}  // namespace millrace
