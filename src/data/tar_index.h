// Where the members of a tar file lie, found by reading its headers and none of its content.
//
// Reads POSIX ustar, pax (path and size) and GNU long names. Streaming through libarchive would read every byte; with
// an index a sample is one pread, in any order, from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace millrace {

struct TarMember {
  std::string name;
  uint64_t offset;  // of the content
  uint64_t size;
};

struct TarIndex {
  std::vector<TarMember> members;  // regular files, in order
  std::string damage;              // not empty: reading stopped early, and why
};

// descriptor: the open file. Throws DataError when the file is no tar file from its first header on.
TarIndex index_tar(int descriptor, const std::filesystem::path& path);

}  // namespace millrace
