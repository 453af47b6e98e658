#include "download/remote_file.h"

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "download/safe_path.h"
#include "formats/quote.h"

namespace millrace {

void check_listing(Listing& listing) {
  std::vector<RemoteFile>& files = listing.files;
  const auto fail = [&](const std::string& expected, const std::string& got) {
    throw DataError(str("[", listing.source.name, "] expected ", expected, ", got ", got));
  };
  for (const RemoteFile& file : files) {
    const std::string problem = path_problem(file.path);
    if (!problem.empty()) fail("names of files below one folder", problem + " in " + in_quotes(file.path));
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  for (size_t i = 1; i < files.size(); ++i) {
    if (files[i].path == files[i - 1].path) fail("names that differ", in_quotes(files[i].path) + " twice");
  }
  // "a" and "a/b" need not be neighbours: "a-b" sorts between them.
  const auto exists = [&](const std::string& path) {
    return std::binary_search(files.begin(), files.end(),
                              RemoteFile{.path = path, .url = {}, .size = {}, .checksum = {}},
                              [](const auto& a, const auto& b) { return a.path < b.path; });
  };
  for (const RemoteFile& file : files) {
    for (size_t slash = file.path.find('/'); slash != std::string::npos; slash = file.path.find('/', slash + 1)) {
      if (exists(file.path.substr(0, slash)))
        fail("a file or a folder", in_quotes(file.path.substr(0, slash)) + " as both");
    }
  }
}

}  // namespace millrace
