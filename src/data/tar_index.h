// The positions of the members of a tar file, found by reading its headers and none of its content.
//
// Reads POSIX ustar, pax (path and size) and GNU long names. Streaming through libarchive would read every byte; with
// an index a sample is one pread, in any order, from any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace millrace {

// The type of a member. Only plain files have readable content; folders are left out of an index.
enum class TarMemberKind : uint8_t {
  kFile,
  kHardLink,
  kSymbolicLink,
  kSparse,         // a file stored without its holes
  kPartial,        // the rest of a file that began on another volume
  kSpecial,        // a device, a pipe or a type that only some programs know
  kDamagedHeader,  // a file whose pax header or long name cannot be read
};

// "a hard link"
const char* describe(TarMemberKind kind);

struct TarMember {
  std::string name;  // as stored: any bytes
  uint64_t offset;   // of the content
  uint64_t size;
  TarMemberKind kind = TarMemberKind::kFile;
};

struct TarIndex {
  std::vector<TarMember> members;  // in order
  std::string damage;              // not empty: why reading stopped early
};

constexpr size_t kMaxTarMembers = 16'000'000;  // about 1.5 GB of index: a limit for a tar of nothing but empty files

// descriptor: the open file. Stops after max_members. Throws DataError when already the first header is not that of a
// tar file, naming the format that it looks like. Data behind the end mark of an archive is damage: members of a second
// archive are not read, as in webdataset and `datasets`, but reported.
TarIndex index_tar(int descriptor, const std::filesystem::path& path, size_t max_members = kMaxTarMembers);

}  // namespace millrace
