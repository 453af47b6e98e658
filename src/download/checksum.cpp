#include "download/checksum.h"

#include <openssl/evp.h>

#include <array>
#include <string_view>

#include "base/error.h"

namespace millrace {
namespace {

const EVP_MD* algorithm(ChecksumKind kind) {
  switch (kind) {
    case ChecksumKind::kMd5:
      return EVP_md5();
    case ChecksumKind::kSha256:
      return EVP_sha256();
    case ChecksumKind::kGitBlob:
      return EVP_sha1();
  }
  return nullptr;
}

}  // namespace

struct ChecksumStream::Context {
  EVP_MD_CTX* evp = EVP_MD_CTX_new();
  Context() = default;
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() { EVP_MD_CTX_free(evp); }
};

const char* name_of(ChecksumKind kind) {
  switch (kind) {
    case ChecksumKind::kMd5:
      return "md5";
    case ChecksumKind::kSha256:
      return "sha256";
    case ChecksumKind::kGitBlob:
      return "git-sha1";
  }
  return "";
}

size_t hex_length(ChecksumKind kind) {
  switch (kind) {
    case ChecksumKind::kMd5:
      return 32;
    case ChecksumKind::kSha256:
      return 64;
    case ChecksumKind::kGitBlob:
      return 40;
  }
  return 0;
}

bool is_checksum(ChecksumKind kind, std::string_view hex) {
  return hex.size() == hex_length(kind) && hex.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string Checksum::text() const {
  return std::string(name_of(kind)) + ":" + hex;
}

ChecksumStream::ChecksumStream(ChecksumKind kind, uint64_t total_bytes)
    : kind_(kind), context_(std::make_unique<Context>()) {
  if (context_->evp == nullptr || EVP_DigestInit_ex(context_->evp, algorithm(kind), nullptr) != 1) {
    // A FIPS build of OpenSSL has no MD5.
    throw ConfigError(std::string("[OpenSSL] expected the checksum ") + name_of(kind) +
                      ", got a library without it (try one that is not restricted to FIPS)");
  }
  if (kind == ChecksumKind::kGitBlob) {
    const std::string header = "blob " + std::to_string(total_bytes);
    update(std::as_bytes(std::span(header.c_str(), header.size() + 1)));
  }
}

ChecksumStream::~ChecksumStream() = default;
ChecksumStream::ChecksumStream(ChecksumStream&&) noexcept = default;
ChecksumStream& ChecksumStream::operator=(ChecksumStream&&) noexcept = default;

void ChecksumStream::update(std::span<const std::byte> bytes) {
  MILLRACE_CHECK(EVP_DigestUpdate(context_->evp, bytes.data(), bytes.size()) == 1);
}

Checksum ChecksumStream::finish() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  MILLRACE_CHECK(EVP_DigestFinal_ex(context_->evp, digest.data(), &size) == 1);
  static constexpr std::string_view kDigits = "0123456789abcdef";
  Checksum checksum{kind_, {}};
  for (unsigned int i = 0; i < size; ++i) {
    checksum.hex += kDigits[digest[i] >> 4];
    checksum.hex += kDigits[digest[i] & 15];
  }
  return checksum;
}

}  // namespace millrace
