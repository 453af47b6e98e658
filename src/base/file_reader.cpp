#include "base/file_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/files.h"

namespace millrace {

FileReader::FileReader(const std::filesystem::path& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info {};
  if (descriptor_ < 0 || ::fstat(descriptor_, &info) != 0 || !S_ISREG(info.st_mode)) {
    const int error = descriptor_ >= 0 && S_ISDIR(info.st_mode) ? EISDIR : errno;
    if (descriptor_ >= 0) ::close(descriptor_);
    throw StorageError("[" + path.string() + "] expected a readable file, got: " + std::strerror(error));
  }
  size_ = static_cast<uint64_t>(info.st_size);
}

FileReader::~FileReader() {
  ::close(descriptor_);
}

void FileReader::read(uint64_t offset, std::span<char> bytes) const {
  read_at(descriptor_, offset, bytes, path_);
}

}  // namespace millrace
