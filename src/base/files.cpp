#include "base/files.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/temporary_files.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

WriteHook& write_hook() {
  static WriteHook hook;
  return hook;
}

[[noreturn]] void fail(const fs::path& path, const std::string& expected, int error) {
  throw StorageError("[" + path.string() + "] expected " + expected + ", got: " + std::strerror(error));
}

// Advises the system on the pages that lie wholly within bytes.
void advise_whole_pages(std::span<const std::byte> bytes, int advice) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = (reinterpret_cast<uintptr_t>(bytes.data()) + page - 1) / page * page;
  const auto end = (reinterpret_cast<uintptr_t>(bytes.data()) + bytes.size()) / page * page;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

uint64_t rotate_left(uint64_t value, int bits) {
  return value << bits | value >> (64 - bits);
}

template <typename Int>
Int load(const unsigned char* bytes) {
  Int value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

}  // namespace

std::string read_file(const fs::path& path, uint64_t max_bytes) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(path, "a readable file", errno);
  std::string content;
  try {
    struct stat info {};
    if (::fstat(descriptor, &info) != 0) fail(path, "a readable file", errno);
    if (S_ISDIR(info.st_mode)) fail(path, "a file", EISDIR);
    std::string buffer(1 << 16, '\0');
    if (S_ISREG(info.st_mode)) content.reserve(std::min<uint64_t>(info.st_size, max_bytes));
    while (true) {
      const ssize_t count = ::read(descriptor, buffer.data(), buffer.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) fail(path, "a readable file", errno);
      if (count == 0) break;
      content.append(buffer.data(), static_cast<size_t>(count));
      if (content.size() > max_bytes) {
        throw StorageError("[" + path.string() + "] expected at most " + std::to_string(max_bytes) +
                           " bytes, got more");
      }
    }
  } catch (...) {
    ::close(descriptor);
    throw;
  }
  ::close(descriptor);
  return content;
}

void read_at(int descriptor, uint64_t offset, std::span<char> bytes, const fs::path& path) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count =
        ::pread(descriptor, bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      throw DataError("[" + path.string() + "] expected " + std::to_string(bytes.size()) + " bytes at " +
                      std::to_string(offset) + ", got " + (count < 0 ? std::strerror(errno) : "fewer"));
    }
    done += static_cast<size_t>(count);
  }
}

void write_file_atomically(const fs::path& path, std::string_view content) {
  const fs::path temporary = temporary_name(path);
  const TemporaryFile named(temporary);
  try {
    FileWriter writer(temporary);
    writer.write(content);
    writer.close();
    if (::rename(temporary.c_str(), path.c_str()) != 0) fail(path, "a name that can be written", errno);
    fsync_folder(path.parent_path());
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

FileWriter::FileWriter(const fs::path& path) : path_(path) {
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (descriptor_ < 0) fail(path_, "a file that can be written", errno);
}

FileWriter::~FileWriter() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void FileWriter::write(const void* data, size_t size) {
  if (write_hook()) write_hook()(path_, size);
  const char* next = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t count = ::write(descriptor_, next, std::min<size_t>(size, size_t{1} << 30));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail(path_, "room for " + std::to_string(size) + " more bytes", errno);
    next += count;
    size -= static_cast<size_t>(count);
    position_ += static_cast<uint64_t>(count);
  }
}

void FileWriter::close() {
  if (descriptor_ < 0) return;
  const int synced = ::fsync(descriptor_);
  const int sync_error = errno;
  const int closed = ::close(descriptor_);
  descriptor_ = -1;
  if (synced != 0) fail(path_, "a file that can be synced to disk", sync_error);
  if (closed != 0) fail(path_, "a file that can be closed", errno);
}

MappedFile::MappedFile(const fs::path& path) : path_(path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) fail(path, "a readable file", errno);
  struct stat info {};
  if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    const int error = S_ISDIR(info.st_mode) ? EISDIR : errno ? errno : EINVAL;
    ::close(descriptor);
    fail(path, "a regular file", error);
  }
  size_ = static_cast<size_t>(info.st_size);
  if (size_ > 0) {
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, descriptor, 0);
    if (address == MAP_FAILED) {
      const int error = errno;
      ::close(descriptor);
      fail(path, "a file that can be mapped", error);
    }
    data_ = static_cast<const std::byte*>(address);
  }
  ::close(descriptor);
}

MappedFile::~MappedFile() {
  if (data_) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

void expect_mapped(std::span<const std::byte> bytes) {
  advise_whole_pages(bytes, MADV_WILLNEED);
}

void release_mapped(std::span<const std::byte> bytes) {
  advise_whole_pages(bytes, MADV_DONTNEED);
}

void fsync_folder(const fs::path& folder) {
  const fs::path name = folder.empty() ? fs::path(".") : folder;
  const int descriptor = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) fail(name, "a folder", errno);
  const int synced = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  // Some network file systems cannot fsync a folder; they say EINVAL.
  if (synced != 0 && error != EINVAL) fail(name, "a folder that can be synced to disk", error);
}

void create_folders(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error)
    throw StorageError("[" + folder.string() + "] expected a folder that can be created, got: " + error.message());
}

// XXH64 as published in the xxHash specification (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
uint64_t checksum64(const void* data, size_t size) {
  constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87, kPrime2 = 0xC2B2AE3D27D4EB4F, kPrime3 = 0x165667B19E3779F9,
                     kPrime4 = 0x85EBCA77C2B2AE63, kPrime5 = 0x27D4EB2F165667C5;
  const auto* next = static_cast<const unsigned char*>(data);
  const unsigned char* end = next + size;
  const auto round = [](uint64_t lane, uint64_t input) { return rotate_left(lane + input * kPrime2, 31) * kPrime1; };
  uint64_t hash;
  if (size >= 32) {
    uint64_t lanes[4] = {kPrime1 + kPrime2, kPrime2, 0, 0 - kPrime1};
    for (; end - next >= 32; next += 32) {
      for (int i = 0; i < 4; ++i) lanes[i] = round(lanes[i], load<uint64_t>(next + 8 * i));
    }
    hash = rotate_left(lanes[0], 1) + rotate_left(lanes[1], 7) + rotate_left(lanes[2], 12) + rotate_left(lanes[3], 18);
    for (const uint64_t lane : lanes) hash = (hash ^ round(0, lane)) * kPrime1 + kPrime4;
  } else {
    hash = kPrime5;
  }
  hash += size;
  for (; end - next >= 8; next += 8) hash = rotate_left(hash ^ round(0, load<uint64_t>(next)), 27) * kPrime1 + kPrime4;
  for (; end - next >= 4; next += 4) hash = rotate_left(hash ^ load<uint32_t>(next) * kPrime1, 23) * kPrime2 + kPrime3;
  for (; next < end; ++next) hash = rotate_left(hash ^ *next * kPrime5, 11) * kPrime1;
  hash = (hash ^ hash >> 33) * kPrime2;
  hash = (hash ^ hash >> 29) * kPrime3;
  return hash ^ hash >> 32;
}

std::string checksum_text(uint64_t checksum) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(checksum));
  return text;
}

void set_write_hook_for_testing(WriteHook hook) {
  write_hook() = std::move(hook);
}

}  // namespace millrace
