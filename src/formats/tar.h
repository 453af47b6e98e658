// Tar archives as streams: WebDataset shards.
//
// Reading takes ustar, pax and GNU archives, plain or compressed with gzip or zstd, through libarchive. Member names
// are labels: nothing here uses one as a path or writes a file for one.
#pragma once

#include <cstdint>
#include <exception>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "formats/atomic_file.h"

struct archive;
struct archive_entry;

namespace millrace {

struct TarEntry {
  std::string name;     // as stored; not necessarily UTF-8
  uint64_t size = 0;    // bytes of content
  uint64_t offset = 0;  // of the member's header in the uncompressed archive
};

struct TarReaderOptions {
  uint64_t max_member_bytes = uint64_t{1} << 30;  // a larger member is an error when it is read, and may be skipped
};

// Not thread-safe; separate readers are independent. Errors in the archive are DataErrors that name the file and the
// byte; a file that cannot be opened is a StorageError.
class TarReader {
 public:
  explicit TarReader(const std::filesystem::path& path, const TarReaderOptions& options = {});
  ~TarReader();
  TarReader(const TarReader&) = delete;
  TarReader& operator=(const TarReader&) = delete;

  // The next regular file; nullopt at the end. Folders, links and devices are skipped. Content that was not read is
  // skipped, by seeking if the archive is not compressed.
  std::optional<TarEntry> next();

  // The content of the member that next() returned last; at most once per member. Reuses content's memory. A member
  // above the limit throws and leaves the reader usable.
  void read(std::string& content);

  // After next() returned nullopt: whether the archive had its end mark. Without the mark, which is also logged, it may
  // have been truncated between two members.
  bool has_end_mark() const { return has_end_mark_; }

 private:
  [[noreturn]] void fail(const std::string& where, const std::string& expected, const std::string& got) const;

  std::filesystem::path path_;
  TarReaderOptions options_;
  archive* archive_ = nullptr;
  TarEntry member_;
  bool has_end_mark_ = false;
};

// Writes a plain ustar archive (pax headers only for names that need them) in which nothing depends on the machine or
// the time: the same members give the same bytes. The file gets its name in close(). Failures are StorageErrors.
class TarWriter {
 public:
  explicit TarWriter(const std::filesystem::path& path);
  ~TarWriter();
  TarWriter(const TarWriter&) = delete;
  TarWriter& operator=(const TarWriter&) = delete;

  void add(const std::string& name, std::string_view content);
  uint64_t bytes_written() const { return bytes_written_; }  // with headers and padding; end mark and pax excluded
  void close();

 private:
  static ssize_t write_piece(archive*, void* self, const void* data, size_t size);
  void check(int status) const;

  std::filesystem::path path_;
  std::optional<AtomicFile> file_;
  archive* archive_ = nullptr;
  uint64_t bytes_written_ = 0;
  std::exception_ptr write_error_;  // thrown inside libarchive's callback, to be rethrown outside
};

}  // namespace millrace
