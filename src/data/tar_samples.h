// Groups members of a tar file into samples as webdataset and `datasets` do: neighbours with the same key.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/tar_index.h"

namespace millrace {

struct TarSample {
  struct File {
    std::string_view extension;  // everything after the first dot of the file's name, as stored
    const TarMember* member;
  };
  std::string_view key;  // the path up to that dot
  std::vector<File> files;
  // Not empty: why the sample is unusable, as "expected X, got Y". The cause may be
  //   a name that is empty, absolute, not UTF-8, or contains "..";
  //   a link, a sparse file or another member that is not a plain file;
  //   an extension (ignoring case) that occurs twice;
  //   files separated from the others of the same key.
  std::string problem;
};

// "a/b.c.txt" -> "a/b", "c.txt". False for files outside any sample: hidden ones, names without a dot.
bool split_member_name(std::string_view name, std::string_view& key, std::string_view& extension);

// The result points into members. is_wanted_name: gets a file's name without its folders; other files are skipped.
std::vector<TarSample> group_tar_samples(const std::vector<TarMember>& members,
                                         bool (*is_wanted_name)(std::string_view name) = nullptr);

}  // namespace millrace
