// Rows of a data set as tokens and labels, in one file that is written once and then read at random.
//
// All numbers are little-endian; each part is filled up with zeros to a multiple of 8 bytes:
//   tokens      uint32 each, row after row; the top bit says that its label is not ignored
//   ends        uint64 for each row: how many tokens there are up to its end
//   checksums   uint64 for each 2^18 tokens (XXH64)
//   identity    text: what the tokens were made of, and how
//   6 x uint64  "MRTOKENS", version, rows, tokens, bytes of the identity, checksum of all but the tokens
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file_reader.h"
#include "base/files.h"
#include "base/thread_pool.h"
#include "language/token_sample.h"

namespace millrace {

// The version of the file's content: raise it whenever rows are encoded to other tokens or the layout changes.
inline constexpr uint64_t kTokenFileVersion = 1;

// Writes the rows in their order, in memory that grows with the number of rows, not of tokens.
class TokenFileWriter {
 public:
  // Throws StorageError, as all that writes.
  explicit TokenFileWriter(const std::filesystem::path& path);

  // A row without tokens: none are kept of it.
  void add(const TokenSample& sample, LabelShift shift);
  int64_t size() const { return static_cast<int64_t>(ends_.size()); }
  int64_t num_tokens() const { return static_cast<int64_t>(num_tokens_); }
  void finish(std::string_view identity);

 private:
  void write_block(size_t tokens);

  FileWriter file_;
  std::vector<uint32_t> block_;  // not written yet
  std::vector<uint64_t> ends_, checksums_;
  uint64_t num_tokens_ = 0;
};

// Safe to read from many threads at once. Keeps 8 bytes of a row in memory; tokens stay in the file.
class TokenFile {
 public:
  // Reads the whole file once, by all threads of the pool. Throws DataError where it is damaged, cut off, of another
  // version or identity, or has ids that are not below vocabulary_size; StorageError where it cannot be opened.
  TokenFile(const std::filesystem::path& path, std::string_view identity, int64_t vocabulary_size, ThreadPool& pool);

  int64_t size() const { return static_cast<int64_t>(ends_.size()); }
  int64_t num_tokens() const { return ends_.empty() ? 0 : static_cast<int64_t>(ends_.back()); }
  const std::filesystem::path& path() const { return file_.path(); }
  uint64_t num_bytes() const { return file_.size(); }

  int64_t length(int64_t row) const;  // 0: none are kept
  // shift: as it was added. Nothing where none are kept, and, with a warning, where the file has become shorter.
  std::optional<TokenSample> find(int64_t row, LabelShift shift) const;

 private:
  void check_tokens(const std::vector<uint64_t>& checksums, int64_t vocabulary_size, ThreadPool& pool) const;

  FileReader file_;
  std::vector<uint64_t> ends_;
  mutable std::atomic<bool> is_warned_ = false;
};

}  // namespace millrace
