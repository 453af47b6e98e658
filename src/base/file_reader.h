// An open file that is read in pieces, wherever they are.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

namespace millrace {

// Safe to read from many threads at once. The file may get another name, or none, while it is open.
class FileReader {
 public:
  // Throws StorageError where the file cannot be opened.
  explicit FileReader(const std::filesystem::path& path);
  ~FileReader();
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  // Bytes, when it was opened.
  uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }
  // Fills `bytes` from offset on. Throws DataError where the file ends before.
  void read(uint64_t offset, std::span<char> bytes) const;

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

}  // namespace millrace
