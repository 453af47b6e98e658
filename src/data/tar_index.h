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

// What a member is. Only the content of plain files can be read; folders are left out of an index.
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
  std::string damage;              // not empty: reading stopped early, and why
};

constexpr size_t kMaxTarMembers = 16'000'000;  // about 1.5 GB of index: a tar of nothing but empty files stops here

// descriptor: the open file. Stops after max_members, however many there are. Throws DataError when the file is no tar
// file from its first header on, saying what it looks like. What follows the end mark of an archive is damage: the
// members of a second archive behind the first are not read, as in webdataset and `datasets`, but not lost in silence.
TarIndex index_tar(int descriptor, const std::filesystem::path& path, size_t max_members = kMaxTarMembers);

}  // namespace millrace
