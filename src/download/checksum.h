// The checksums that sources publish for their files, computed incrementally.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace millrace {

enum class ChecksumKind {
  kMd5,      // MLCommons' lists
  kSha256,   // large files of Hugging Face (git LFS)
  kGitBlob,  // its other files: SHA-1 over "blob <size>\0" and the bytes
};

struct Checksum {
  ChecksumKind kind = ChecksumKind::kSha256;
  std::string hex;  // lower case

  bool operator==(const Checksum&) const = default;
  std::string text() const;  // "sha256:9f86d0..."
};

const char* name_of(ChecksumKind kind);
// Digits in hex.
size_t hex_length(ChecksumKind kind);
// True for the right number of hexadecimal digits, in lower case.
bool is_checksum(ChecksumKind kind, std::string_view hex);

class ChecksumStream {
 public:
  // total_bytes: of the whole file; only kGitBlob needs it.
  ChecksumStream(ChecksumKind kind, uint64_t total_bytes);
  ~ChecksumStream();
  ChecksumStream(ChecksumStream&&) noexcept;
  ChecksumStream& operator=(ChecksumStream&&) noexcept;

  void update(std::span<const std::byte> bytes);
  Checksum finish();  // once

 private:
  struct Context;
  ChecksumKind kind_;
  std::unique_ptr<Context> context_;
};

}  // namespace millrace
