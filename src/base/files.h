// Files: whole reads, memory maps and writes that are complete or absent. Failures throw StorageError naming the
// path, unless another error is named.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace millrace {

// Reads at most max_bytes; a longer file is an error, so that no input can exhaust memory.
std::string read_file(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{1} << 30);

// Fills `bytes` from an open file's offset, from any thread. Throws DataError naming path where the file ends before.
void read_at(int descriptor, uint64_t offset, std::span<char> bytes, const std::filesystem::path& path);

// Writes to a temporary name in the same folder, fsyncs, renames: path holds the old content or all of the new.
void write_file_atomically(const std::filesystem::path& path, std::string_view content);

// An unbuffered file for appending large pieces. close() fsyncs; the destructor closes without.
class FileWriter {
 public:
  explicit FileWriter(const std::filesystem::path& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(const void* data, size_t size);
  void write(std::string_view text) { write(text.data(), text.size()); }
  uint64_t position() const { return position_; }
  void close();

 private:
  std::filesystem::path path_;
  int descriptor_;
  uint64_t position_ = 0;
};

// A read-only map of a whole file.
class MappedFile {
 public:
  MappedFile() = default;
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// Asks the system to bring mapped bytes into its cache, ahead of their use.
void expect_mapped(std::span<const std::byte> bytes);
// Drops mapped bytes from this process's memory until they are read again: a file may be larger than memory.
void release_mapped(std::span<const std::byte> bytes);

void fsync_folder(const std::filesystem::path& folder);
void create_folders(const std::filesystem::path& folder);

// Fast 64-bit content checksum (XXH64 of the bytes, seed 0); published algorithm, stable across versions.
uint64_t checksum64(const void* data, size_t size);
std::string checksum_text(uint64_t checksum);  // 16 hexadecimal digits

// For full-disk and torn-write tests: when set, called before every write with the path and the bytes about to be
// written; the writer throws what it throws. Not thread-safe to change while writers run.
using WriteHook = std::function<void(const std::filesystem::path&, size_t)>;
void set_write_hook_for_testing(WriteHook hook);

}  // namespace millrace
