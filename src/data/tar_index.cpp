#include "data/tar_index.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/error.h"

namespace millrace {
namespace {

constexpr uint64_t kBlock = 512;
constexpr uint64_t kMaxExtension = 1 << 20;  // bytes of a pax header or a long name
constexpr size_t kMaxMembers = 16'000'000;   // about 1.5 GB of index: a tar of nothing but empty files stops here
constexpr size_t kWindow = 16 << 10;         // small members share one read

struct Damage {
  std::string what;
};

// Reads anywhere in the file through one window.
class Window {
 public:
  Window(int descriptor, uint64_t file_size) : descriptor_(descriptor), file_size_(file_size) {}

  uint64_t file_size() const { return file_size_; }

  // size bytes at offset, at most kWindow; throws Damage past the end.
  const char* at(uint64_t offset, size_t size) {
    if (offset > file_size_ || size > file_size_ - offset) throw Damage{"the file ends early"};
    if (offset < start_ || offset + size > start_ + filled_) fill(offset);
    if (offset + size > start_ + filled_) throw Damage{"the file ends early"};
    return buffer_ + (offset - start_);
  }
  std::string text(uint64_t offset, uint64_t size) {
    if (size > kMaxExtension) throw Damage{"a name or header of " + std::to_string(size) + " bytes"};
    std::string result;
    while (result.size() < size) {
      const size_t piece = std::min<uint64_t>(size - result.size(), kWindow);
      result.append(at(offset + result.size(), piece), piece);
    }
    return result;
  }

 private:
  void fill(uint64_t offset) {
    start_ = offset;
    filled_ = 0;
    while (filled_ < kWindow) {
      const ssize_t count =
          ::pread(descriptor_, buffer_ + filled_, kWindow - filled_, static_cast<off_t>(offset + filled_));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) throw Damage{std::string("it cannot be read: ") + std::strerror(errno)};
      if (count == 0) break;
      filled_ += static_cast<size_t>(count);
    }
  }

  int descriptor_;
  uint64_t file_size_;
  uint64_t start_ = 0;
  size_t filled_ = 0;
  char buffer_[kWindow];
};

std::string_view field(const char* header, size_t offset, size_t size) {
  return {header + offset, ::strnlen(header + offset, size)};
}

// Octal digits with blanks around them, or GNU's base 256 when the first bit is set.
std::optional<uint64_t> parse_size(const char* header) {
  const char* text = header + 124;
  constexpr size_t kSize = 12;
  if (static_cast<unsigned char>(text[0]) & 0x80) {
    uint64_t value = 0;
    for (size_t i = 1; i < kSize; ++i) {
      if (value >> 56) return std::nullopt;
      value = value << 8 | static_cast<unsigned char>(text[i]);
    }
    return value;
  }
  uint64_t value = 0;
  for (size_t i = 0; i < kSize && text[i] != '\0'; ++i) {
    if (text[i] == ' ') continue;
    if (text[i] < '0' || text[i] > '7') return std::nullopt;
    value = value << 3 | static_cast<uint64_t>(text[i] - '0');
  }
  return value;
}

bool checksum_is_right(const char* header) {
  uint64_t stored = 0;
  for (size_t i = 148; i < 156; ++i) {
    if (header[i] >= '0' && header[i] <= '7') stored = stored << 3 | static_cast<uint64_t>(header[i] - '0');
  }
  uint64_t sum = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    sum += i >= 148 && i < 156 ? ' ' : static_cast<unsigned char>(header[i]);
  }
  return sum == stored;
}

// pax records: "LENGTH KEY=VALUE\n". Only the two that change where things are.
void read_pax(std::string_view records, std::string& name, int64_t& size) {
  while (!records.empty()) {
    size_t length = 0;
    const auto [end, error] = std::from_chars(records.data(), records.data() + records.size(), length);
    const auto digits = static_cast<size_t>(end - records.data());
    if (error != std::errc() || length > records.size() || length < digits + 3) throw Damage{"a damaged pax header"};
    const std::string_view record = records.substr(digits + 1, length - digits - 2);
    if (record.starts_with("path=")) name = record.substr(5);
    if (record.starts_with("size=")) {
      int64_t value = 0;
      const auto [stop, bad] = std::from_chars(record.data() + 5, record.data() + record.size(), value);
      if (bad != std::errc() || stop != record.data() + record.size() || value < 0) throw Damage{"a damaged pax size"};
      size = value;
    }
    records.remove_prefix(length);
  }
}

std::string ustar_name(const char* header) {
  const std::string_view name = field(header, 0, 100);
  const bool posix = std::memcmp(header + 257, "ustar\0", 6) == 0;  // GNU's old format keeps other things at 345
  const std::string_view prefix = posix ? field(header, 345, 155) : std::string_view();
  return prefix.empty() ? std::string(name) : std::string(prefix) + "/" + std::string(name);
}

void read_headers(Window& file, TarIndex& index, uint64_t& position) {
  std::string long_name;  // for the next member
  int64_t long_size = -1;
  while (position < file.file_size()) {
    const char* header = file.at(position, kBlock);
    if (std::all_of(header, header + kBlock, [](char c) { return c == '\0'; })) return;  // the end mark
    if (!checksum_is_right(header)) throw Damage{"a header with a wrong checksum"};
    const char type = header[156];
    std::optional<uint64_t> size = parse_size(header);
    const bool extension = type == 'x' || type == 'g' || type == 'L' || type == 'K';
    if (!extension && long_size >= 0) size = static_cast<uint64_t>(long_size);
    if (!size) throw Damage{"a header with a damaged size"};
    std::string name = extension ? "" : long_name.empty() ? ustar_name(header) : long_name;
    const uint64_t content = position + kBlock;
    if (*size > file.file_size() - content) throw Damage{"the file ends early"};
    if (type == 'L') {
      long_name = file.text(content, *size);
      long_name.resize(::strnlen(long_name.c_str(), long_name.size()));
    } else if (type == 'x') {
      read_pax(file.text(content, *size), long_name, long_size);
    } else if (!extension) {
      if (type == '0' || type == '\0' || type == '7') {
        if (index.members.size() == kMaxMembers) throw Damage{"more than 16 million members"};
        index.members.push_back({std::move(name), content, *size});
      }
      long_name.clear();
      long_size = -1;
    }
    position = content + (*size + kBlock - 1) / kBlock * kBlock;
  }
}

}  // namespace

TarIndex index_tar(int descriptor, const std::filesystem::path& path) {
  struct stat info {};
  if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    throw DataError("[" + path.string() + "] expected a tar file, got something that is no regular file");
  }
  Window file(descriptor, static_cast<uint64_t>(info.st_size));
  TarIndex index;
  uint64_t position = 0;
  try {
    read_headers(file, index, position);
  } catch (const Damage& damage) {
    if (position == 0) {
      throw DataError("[" + path.string() + "] expected a tar file, got " + damage.what +
                      " (compressed shards must be unpacked first: try gunzip)");
    }
    index.damage = damage.what + " at byte " + std::to_string(position);
  }
  return index;
}

}  // namespace millrace
