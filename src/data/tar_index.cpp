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
#include "base/text.h"

namespace millrace {
namespace {

constexpr uint64_t kBlock = 512;
constexpr uint64_t kMaxExtension = 1 << 20;  // bytes of a pax header or a long name
constexpr size_t kWindow = 16 << 10;         // small members share one read
constexpr uint64_t kMaxEmpty = 1 << 20;      // bytes of an archive without members: end mark and padding

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

// Octal digits with blanks around them, or GNU's base 256 if the first bit is set.
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

bool is_zero(const char* bytes, size_t size) {
  return std::all_of(bytes, bytes + size, [](char c) { return c == '\0'; });
}

// Sums the header's bytes with the sum itself as blanks; some old programs used signed bytes.
bool checksum_is_right(const char* header) {
  int64_t stored = 0;
  for (size_t i = 148; i < 156; ++i) {
    if (header[i] >= '0' && header[i] <= '7') stored = stored << 3 | (header[i] - '0');
  }
  int64_t sum = 0, signed_sum = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    const char byte = i >= 148 && i < 156 ? ' ' : header[i];
    sum += static_cast<unsigned char>(byte);
    signed_sum += static_cast<signed char>(byte);
  }
  return stored == sum || stored == signed_sum;
}

// Fields of a member that are set by headers before it.
struct Extension {
  std::string name;   // empty: the member's own header has it
  int64_t size = -1;  // -1: likewise
  bool is_sparse = false;
  bool is_damaged = false;
};

// pax records: "LENGTH KEY=VALUE\n". Reads only those that affect positions. False: damaged.
bool read_pax(std::string_view records, Extension& extension) {
  while (!records.empty()) {
    size_t length = 0;
    const auto [end, error] = std::from_chars(records.data(), records.data() + records.size(), length);
    const auto digits = static_cast<size_t>(end - records.data());
    if (error != std::errc() || length > records.size() || length < digits + 3) return false;
    const std::string_view record = records.substr(digits + 1, length - digits - 2);
    if (record.starts_with("path=") && !extension.is_sparse) extension.name = record.substr(5);
    if (record.starts_with("GNU.sparse.")) extension.is_sparse = true;
    if (record.starts_with("GNU.sparse.name=")) extension.name = record.substr(16);
    if (record.starts_with("size=")) {
      int64_t value = 0;
      const auto [stop, bad] = std::from_chars(record.data() + 5, record.data() + record.size(), value);
      if (bad != std::errc() || stop != record.data() + record.size() || value < 0) return false;
      extension.size = value;
    }
    records.remove_prefix(length);
  }
  return true;
}

std::string ustar_name(const char* header) {
  const std::string_view name = field(header, 0, 100);
  const bool posix = std::memcmp(header + 257, "ustar\0", 6) == 0;  // GNU's old format uses offset 345 otherwise
  const std::string_view prefix = posix ? field(header, 345, 155) : std::string_view();
  return prefix.empty() ? std::string(name) : std::string(prefix) + "/" + std::string(name);
}

// The start of the content: GNU's old sparse files continue their map after the header.
uint64_t begin_of_content(Window& file, uint64_t position, char type) {
  uint64_t content = position + kBlock;
  if (type != 'S') return content;
  bool has_more = file.at(position, kBlock)[482] != 0;
  for (; has_more; content += kBlock) has_more = file.at(content, kBlock)[504] != 0;
  return content;
}

// Links, devices and folders have no content, but some programs still write a size into their headers.
bool has_no_content(Window& file, uint64_t content) {
  if (content + kBlock > file.file_size()) return true;
  const char* next = file.at(content, kBlock);
  return is_zero(next, kBlock) || checksum_is_right(next);
}

TarMemberKind kind_of(char type, const Extension& extension) {
  if (extension.is_damaged) return TarMemberKind::kDamagedHeader;
  if (extension.is_sparse) return TarMemberKind::kSparse;
  switch (type) {
    case '0':
    case '\0':
    case '7':
      return TarMemberKind::kFile;
    case '1':
      return TarMemberKind::kHardLink;
    case '2':
      return TarMemberKind::kSymbolicLink;
    case 'S':
      return TarMemberKind::kSparse;
    case 'M':
      return TarMemberKind::kPartial;
    default:
      return TarMemberKind::kSpecial;
  }
}

bool is_folder_or_label(char type, const std::string& name) {
  return type == '5' || type == 'D' || type == 'V' || (type == '\0' && name.ends_with('/'));
}

void expect_nothing_behind(Window& file, uint64_t& position) {
  for (size_t step; position < file.file_size(); position += step) {
    step = std::min<uint64_t>(kWindow, file.file_size() - position);
    const char* bytes = file.at(position, step);
    const char* found = std::find_if(bytes, bytes + step, [](char c) { return c != '\0'; });
    if (found == bytes + step) continue;
    position += static_cast<uint64_t>(found - bytes);
    throw Damage{
        "more behind the end mark of the archive, as in archives joined by cat (tar --ignore-zeros unpacks it)"};
  }
}

void read_headers(Window& file, TarIndex& index, uint64_t& position, size_t max_members) {
  Extension extension;  // of the next member
  while (max_members == kMaxTarMembers || index.members.size() < max_members) {
    if (position == file.file_size()) throw Damage{"the end mark is missing, as in a file that ends early"};
    const char* header = file.at(position, kBlock);
    if (is_zero(header, kBlock)) {
      if (position == 0 && file.file_size() > kMaxEmpty) throw Damage{"nothing but zeros where it begins"};
      return expect_nothing_behind(file, position);
    }
    if (!checksum_is_right(header)) throw Damage{"a header with a wrong checksum"};
    const char type = header[156];
    std::optional<uint64_t> size = parse_size(header);
    const bool is_pax = type == 'x' || type == 'X';
    const bool is_extension = is_pax || type == 'g' || type == 'L' || type == 'K';
    std::string name = is_extension ? "" : extension.name.empty() ? ustar_name(header) : extension.name;
    if (!is_extension && extension.size >= 0) size = static_cast<uint64_t>(extension.size);
    if (!size) throw Damage{"a header with a damaged size"};
    const uint64_t content = begin_of_content(file, position, type);
    if (type >= '1' && type <= '6' && *size > 0 && has_no_content(file, content)) size = 0;
    if (content > file.file_size() || *size > file.file_size() - content) throw Damage{"the file ends early"};
    if (type == 'L' || is_pax) {
      const std::string text = *size <= kMaxExtension ? file.text(content, *size) : "";
      if (type == 'L') extension.name = text.c_str();
      if (*size > kMaxExtension || (is_pax && !read_pax(text, extension))) extension.is_damaged = true;
    } else if (!is_extension) {
      if (index.members.size() == kMaxTarMembers) throw Damage{"more than 16 million members"};
      if (!is_folder_or_label(type, name))
        index.members.push_back({std::move(name), content, *size, kind_of(type, extension)});
      extension = {};
    }
    position = content + (*size + kBlock - 1) / kBlock * kBlock;
  }
}

bool begins_as_tar(Window& file) {
  if (file.file_size() < kBlock) return false;
  const char* header = file.at(0, kBlock);
  return checksum_is_right(header) || (is_zero(header, kBlock) && file.file_size() <= kMaxEmpty);
}

// The apparent format of a file that is not a tar archive; empty: unknown.
std::string likeness(Window& file) {
  const size_t looked_at = std::min<uint64_t>(64, file.file_size());
  const std::string_view bytes(file.at(0, looked_at), looked_at);
  const std::string_view text = trim(bytes);
  struct Known {
    std::string_view begin;
    const char* name;
  };
  static constexpr Known kBinary[] = {
      {"\x1f\x8b", "a file compressed by gzip (try gunzip)"},
      {"\x28\xb5\x2f\xfd", "a file compressed by zstd (try unzstd)"},
      {"\xfd"
       "7zXZ",
       "a file compressed by xz (try unxz)"},
      {"BZh", "a file compressed by bzip2 (try bunzip2)"},
      {"\x04\x22\x4d\x18", "a file compressed by lz4 (try unlz4)"},
      {"PK\x03\x04", "a zip archive"},
      {"ARROW1", "an Arrow file"},
      {"PAR1", "a Parquet file"},
      {"version https://git-lfs", "Git's note of where a large file is (try git lfs pull)"}};
  for (const Known& known : kBinary) {
    if (bytes.starts_with(known.begin)) return known.name;
  }
  if (text.starts_with("<")) return "a page of HTML or XML";
  if (text.starts_with("{") || text.starts_with("[")) return "JSON";
  return "";
}

}  // namespace

const char* describe(TarMemberKind kind) {
  switch (kind) {
    case TarMemberKind::kFile:
      return "a plain file";
    case TarMemberKind::kHardLink:
      return "a hard link";
    case TarMemberKind::kSymbolicLink:
      return "a symbolic link";
    case TarMemberKind::kSparse:
      return "a sparse file";
    case TarMemberKind::kPartial:
      return "the rest of a file from another volume";
    case TarMemberKind::kSpecial:
      return "a device, a pipe or an unknown type";
    case TarMemberKind::kDamagedHeader:
      return "one with a damaged pax header or long name";
  }
  return "something else";
}

TarIndex index_tar(int descriptor, const std::filesystem::path& path, size_t max_members) {
  struct stat info {};
  if (::fstat(descriptor, &info) != 0 || !S_ISREG(info.st_mode)) {
    throw DataError("[" + path.string() + "] expected a tar archive, got something other than a regular file");
  }
  Window file(descriptor, static_cast<uint64_t>(info.st_size));
  TarIndex index;
  uint64_t position = 0;
  bool is_tar = false;
  std::string looks_like;
  try {
    if (file.file_size() == 0) throw Damage{"an empty file"};
    is_tar = begins_as_tar(file);
    if (!is_tar) looks_like = likeness(file);
    read_headers(file, index, position, max_members);
  } catch (const Damage& damage) {
    if (!is_tar) {
      throw DataError("[" + path.string() + "] expected a tar archive, got " +
                      (looks_like.empty() ? damage.what : looks_like));
    }
    index.damage = damage.what + " at byte " + std::to_string(position);
  }
  return index;
}

}  // namespace millrace
