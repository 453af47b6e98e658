// Which members of a tar file are a sample together: as webdataset and `datasets` do it, neighbours with the same key.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "data/tar_index.h"

namespace millrace {

struct TarSample {
  struct File {
    std::string_view extension;  // all that stands behind the first dot of the file's name, as stored
    const TarMember* member;
  };
  std::string_view key;  // the path up to that dot
  std::vector<File> files;
  // Not empty: the sample cannot be used, and why: "expected X, got Y". It may be
  //   a name that is empty, absolute, not UTF-8, or leads up by "..";
  //   a link, a sparse file or another member that is no plain file;
  //   a kind of file (whatever the case of its letters) that comes twice;
  //   files that lie apart from the others of the same key.
  std::string problem;
};

// "a/b.c.txt" -> "a/b", "c.txt". False for what is no member of a sample: hidden files, names without a dot.
bool split_member_name(std::string_view name, std::string_view& key, std::string_view& extension);

// What is returned points into members. is_wanted_name: of a file, without its folders; others are passed over.
std::vector<TarSample> group_tar_samples(const std::vector<TarMember>& members,
                                         bool (*is_wanted_name)(std::string_view name) = nullptr);

}  // namespace millrace
