#include "formats/npz.h"

#include <zlib.h>

#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/text.h"
#include "formats/atomic_file.h"

namespace millrace {
namespace {

// ZIP's checksum of what `sum` is of, and these bytes.
uint32_t add_crc32(uint32_t sum, std::string_view bytes) {
  if (bytes.empty()) return sum;  // zlib starts anew for a null pointer
  return static_cast<uint32_t>(crc32_z(sum, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

constexpr uint32_t kLocalHeader = 0x04034B50, kCentralHeader = 0x02014B50, kEnd = 0x06054B50;
constexpr uint32_t kZip64End = 0x06064B50, kZip64Locator = 0x07064B50;
constexpr size_t kLocalBytes = 30, kCentralBytes = 46, kEndBytes = 22, kLocatorBytes = 20, kZip64EndBytes = 56;
constexpr size_t kLongestComment = 0xFFFF;
constexpr uint32_t kIn64Bits = 0xFFFFFFFF;  // the number stands in the extra field
constexpr uint16_t kZip64Field = 1;
constexpr uint16_t kVersion = 45;                      // with 64-bit sizes
constexpr uint16_t kFirstDay = (1 << 5) | 1;           // 1 January 1980, as numpy says
constexpr uint32_t kOwnerReadsAndWrites = 0600 << 16;  // of a Unix file

template <typename T>
T load(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

template <typename T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// Reading: the directory at the end of the file, then each member that it names.

class Reader {
 public:
  Reader(std::string_view file, const std::string& place) : file_(file), place_(place) {}

  struct Member {
    std::string name;
    std::string_view content;
  };

  std::vector<Member> members() const {
    const auto [count, begin] = directory();
    std::vector<Member> members;
    size_t at = begin;
    for (uint64_t i = 0; i < count; ++i) {
      if (!has(at, kCentralBytes) || load<uint32_t>(file_, at) != kCentralHeader) fail("an entry of the directory", at);
      const auto name_bytes = load<uint16_t>(file_, at + 28), extra_bytes = load<uint16_t>(file_, at + 30),
                 comment_bytes = load<uint16_t>(file_, at + 32);
      if (!has(at + kCentralBytes, size_t{name_bytes} + extra_bytes + comment_bytes)) fail("a whole directory", at);
      members.push_back(member(at, name_bytes, extra_bytes));
      at += kCentralBytes + name_bytes + extra_bytes + comment_bytes;
    }
    return members;
  }

 private:
  struct Directory {
    uint64_t count;
    uint64_t begin;
  };

  bool has(uint64_t at, uint64_t bytes) const { return at <= file_.size() && bytes <= file_.size() - at; }

  [[noreturn]] void fail(const std::string& expected, size_t at) const {
    throw DataError(
        str("[", printable(place_), ", byte ", at, "] expected ", expected, " of a .npz file, got another"));
  }

  // The end record is the last thing in the file but for a comment.
  Directory directory() const {
    const size_t size = file_.size(),
                 first = size > kEndBytes + kLongestComment ? size - kEndBytes - kLongestComment : 0;
    for (size_t at = size < kEndBytes ? 0 : size - kEndBytes + 1; at-- > first;) {
      if (load<uint32_t>(file_, at) != kEnd) continue;
      Directory found{load<uint16_t>(file_, at + 10), load<uint32_t>(file_, at + 16)};
      const bool is_long = found.count == 0xFFFF || found.begin == kIn64Bits;
      if (is_long && at >= kLocatorBytes && load<uint32_t>(file_, at - kLocatorBytes) == kZip64Locator) {
        const auto end = load<uint64_t>(file_, at - kLocatorBytes + 8);
        if (!has(end, kZip64EndBytes) || load<uint32_t>(file_, end) != kZip64End) fail("the directory's end", end);
        found = {load<uint64_t>(file_, end + 32), load<uint64_t>(file_, end + 48)};
      }
      return found;
    }
    fail("the directory", size);
  }

  Member member(size_t at, size_t name_bytes, size_t extra_bytes) const {
    Member member;
    member.name = std::string(file_.substr(at + kCentralBytes, name_bytes));
    uint64_t packed = load<uint32_t>(file_, at + 20), whole = load<uint32_t>(file_, at + 24),
             begin = load<uint32_t>(file_, at + 42);
    // 64-bit numbers in the extra field stand for those that did not fit, in this order.
    std::string_view extra = file_.substr(at + kCentralBytes + name_bytes, extra_bytes);
    while (extra.size() >= 4) {
      const auto kind = load<uint16_t>(extra, 0), length = load<uint16_t>(extra, 2);
      if (length > extra.size() - 4) fail("a whole extra field", at);
      if (kind == kZip64Field) {
        size_t next = 4;
        for (uint64_t* number : {&whole, &packed, &begin}) {
          if (*number != kIn64Bits) continue;
          if (next + 8 > size_t{4} + length) fail("64-bit sizes", at);
          *number = load<uint64_t>(extra, next);
          next += 8;
        }
      }
      extra.remove_prefix(size_t{4} + length);
    }
    const auto method = load<uint16_t>(file_, at + 10);
    if (method != 0 || packed != whole) {
      throw DataError(str("[", printable(place_), ": ", printable(member.name),
                          "] expected an array that is stored, got a compressed one (try numpy.savez in the place of "
                          "numpy.savez_compressed)"));
    }
    if (!has(begin, kLocalBytes) || load<uint32_t>(file_, begin) != kLocalHeader) fail("an array's header", begin);
    const uint64_t data = begin + kLocalBytes + load<uint16_t>(file_, begin + 26) + load<uint16_t>(file_, begin + 28);
    if (!has(data, whole)) fail("a whole array", begin);
    member.content = file_.substr(data, whole);
    if (add_crc32(0, member.content) != load<uint32_t>(file_, at + 16)) {
      throw DataError(
          str("[", printable(place_), ": ", printable(member.name), "] expected intact data, got a wrong checksum"));
    }
    return member;
  }

  std::string_view file_;
  const std::string& place_;
};

// Writing

struct Written {
  std::string name;
  uint32_t crc;
  uint64_t size, begin;
};

// The sizes of members are in 64 bits there, whether necessary or not: numpy cannot know them before.
std::string local_header(const Written& member) {
  std::string out;
  append(out, kLocalHeader);
  append(out, kVersion);
  append(out, uint16_t{0});  // flags
  append(out, uint16_t{0});  // stored
  append(out, uint16_t{0});  // midnight
  append(out, kFirstDay);
  append(out, member.crc);
  append(out, kIn64Bits);
  append(out, kIn64Bits);
  append(out, static_cast<uint16_t>(member.name.size()));
  append(out, uint16_t{20});
  out += member.name;
  append(out, kZip64Field);
  append(out, uint16_t{16});
  append(out, member.size);
  append(out, member.size);
  return out;
}

std::string central_header(const Written& member) {
  std::string out;
  append(out, kCentralHeader);
  append(out, static_cast<uint16_t>(3 << 8 | kVersion));  // made on Unix
  append(out, kVersion);
  append(out, uint16_t{0});
  append(out, uint16_t{0});
  append(out, uint16_t{0});
  append(out, kFirstDay);
  append(out, member.crc);
  append(out, static_cast<uint32_t>(member.size));
  append(out, static_cast<uint32_t>(member.size));
  append(out, static_cast<uint16_t>(member.name.size()));
  append(out, uint16_t{0});  // extra
  append(out, uint16_t{0});  // comment
  append(out, uint16_t{0});  // disk
  append(out, uint16_t{0});  // internal attributes
  append(out, kOwnerReadsAndWrites);
  append(out, static_cast<uint32_t>(member.begin));
  return out + member.name;
}

std::string end_record(size_t count, uint64_t begin, uint64_t bytes) {
  std::string out;
  append(out, kEnd);
  append(out, uint16_t{0});
  append(out, uint16_t{0});
  append(out, static_cast<uint16_t>(count));
  append(out, static_cast<uint16_t>(count));
  append(out, static_cast<uint32_t>(bytes));
  append(out, static_cast<uint32_t>(begin));
  append(out, uint16_t{0});  // comment
  return out;
}

}  // namespace

std::map<std::string, NpyArray> parse_npz(std::span<const std::byte> bytes, const std::string& place) {
  std::map<std::string, NpyArray> arrays;
  const std::string_view file(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (const Reader::Member& member : Reader(file, place).members()) {
    constexpr std::string_view kEnding = ".npy";
    if (!ends_with(member.name, kEnding)) continue;  // numpy does not read it as an array, either
    const std::string name = member.name.substr(0, member.name.size() - kEnding.size());
    arrays[name] = parse_npy(std::as_bytes(std::span(member.content)), printable(place) + ": " + printable(name));
  }
  return arrays;
}

NpzFile::NpzFile(const std::filesystem::path& path) : map_(path), arrays_(parse_npz(map_.bytes(), path.string())) {}

const NpyArray* NpzFile::find(const std::string& name) const {
  const auto found = arrays_.find(name);
  return found == arrays_.end() ? nullptr : &found->second;
}

void write_npz(const std::filesystem::path& path, const std::vector<NpzArray>& arrays) {
  AtomicFile file(path);
  std::vector<Written> members;
  uint64_t position = 0;
  for (const NpzArray& array : arrays) {
    const std::string header = npy_header(array.dtype, array.shape);
    const std::string_view bytes(reinterpret_cast<const char*>(array.bytes.data()), array.bytes.size());
    const uint32_t sum = add_crc32(add_crc32(0, header), bytes);
    members.push_back({array.name + ".npy", sum, header.size() + bytes.size(), position});
    const std::string local = local_header(members.back());
    file.writer().write(local);
    file.writer().write(header);
    if (!bytes.empty()) file.writer().write(bytes.data(), bytes.size());
    position += local.size() + members.back().size;
    if (position >= kIn64Bits) {
      throw StorageError(str("[", printable(path.string()), "] expected arrays of less than 4 GiB, got more"));
    }
  }
  const uint64_t begin = position;
  for (const Written& member : members) {
    const std::string central = central_header(member);
    file.writer().write(central);
    position += central.size();
  }
  file.writer().write(end_record(members.size(), begin, position - begin));
  file.commit();
}

}  // namespace millrace
