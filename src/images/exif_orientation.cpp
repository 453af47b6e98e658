#include "images/exif_orientation.h"

#include <bit>
#include <cstdint>
#include <iterator>
#include <set>

namespace millrace {
namespace {

using namespace std::string_view_literals;

constexpr uint32_t kOrientationTag = 0x0112;

// TIFF 6.0's field types, and two of later ones.
enum Type : uint32_t {
  kByte = 1,
  kAscii = 2,
  kShort = 3,
  kLong = 4,
  kRational = 5,
  kSignedByte = 6,
  kUndefined = 7,
  kSignedShort = 8,
  kSignedLong = 9,
  kSignedRational = 10,
  kFloat = 11,
  kDouble = 12,
  kIfd = 13,
  kLong8 = 16,
};

// Bytes of one value; 0: an unknown type, skipped.
uint64_t unit_bytes(uint32_t type) {
  constexpr uint64_t kBytes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4, 0, 0, 8};
  return type < std::size(kBytes) ? kBytes[type] : 0;
}

class Directory {
 public:
  explicit Directory(std::string_view data) : data_(data), little_endian_(data.starts_with("II")) {}

  std::optional<int> orientation() const {
    uint64_t at = number(4, 4);
    if (at + 2 > data_.size()) return std::nullopt;
    const uint64_t entries = number(at, 2);
    at += 2;
    uint64_t total = 0;  // of the data outside of the directory
    std::set<uint32_t> seen;
    for (uint64_t i = 0; i < entries && at + 12 <= data_.size(); ++i, at += 12) {
      const auto tag = static_cast<uint32_t>(number(at, 2)), type = static_cast<uint32_t>(number(at + 2, 2));
      const uint64_t size = number(at + 4, 4) * unit_bytes(type);
      uint64_t value_at = at + 8;
      // The first of repeated tags counts; a tag whose data exceeds the file is ignored.
      if (size == 0 || seen.contains(tag)) continue;
      if (size > 4) {
        total += size;
        if (total > data_.size()) continue;
        value_at = number(at + 8, 4);
        if (value_at + size > data_.size()) return std::nullopt;
      }
      if (tag == kOrientationTag) return orientation_of(type, value_at);
      seen.insert(tag);
    }
    return std::nullopt;
  }

 private:
  uint64_t number(uint64_t at, uint64_t bytes) const {
    uint64_t value = 0;
    for (uint64_t i = 0; i < bytes; ++i)
      value = value << 8 | static_cast<unsigned char>(data_[at + (little_endian_ ? bytes - 1 - i : i)]);
    return value;
  }

  // The first of the values, of any type: only a whole number from 1 to 8 is an orientation.
  int orientation_of(uint32_t type, uint64_t at) const {
    double value = 0;
    switch (type) {
      case kShort:
        value = static_cast<double>(number(at, 2));
        break;
      case kLong:
      case kIfd:
        value = static_cast<double>(number(at, 4));
        break;
      case kLong8:
        value = static_cast<double>(number(at, 8));
        break;
      case kSignedByte:
        value = static_cast<int8_t>(number(at, 1));
        break;
      case kSignedShort:
        value = static_cast<int16_t>(number(at, 2));
        break;
      case kSignedLong:
        value = static_cast<int32_t>(number(at, 4));
        break;
      case kRational:
        value = static_cast<double>(number(at, 4)) / static_cast<double>(number(at + 4, 4));
        break;
      case kSignedRational:
        value = static_cast<double>(static_cast<int32_t>(number(at, 4))) /
                static_cast<double>(static_cast<int32_t>(number(at + 4, 4)));
        break;
      case kFloat:
        value = std::bit_cast<float>(static_cast<uint32_t>(number(at, 4)));
        break;
      case kDouble:
        value = std::bit_cast<double>(number(at, 8));
        break;
      default:  // bytes and text
        return 1;
    }
    for (int orientation = 2; orientation <= 8; ++orientation) {
      if (value == orientation) return orientation;
    }
    return 1;
  }

  std::string_view data_;
  bool little_endian_;
};

// Pillow also accepts a header whose magic number has the other byte order, and reads big-endian BigTIFF as TIFF.
bool is_tiff(std::string_view data) {
  for (const std::string_view magic : {"MM\0\x2A"sv, "II\x2A\0"sv, "MM\x2A\0"sv, "II\0\x2A"sv, "MM\0\x2B"sv}) {
    if (data.starts_with(magic)) return data.size() >= 8;
  }
  return false;
}

}  // namespace

ExifOrientation read_exif_orientation(std::string_view exif) {
  for (int i = 0; i < 2 && exif.starts_with("Exif\0\0"sv); ++i) exif.remove_prefix(6);
  if (exif.empty()) return {};
  if (!is_tiff(exif)) return {.is_refused = true, .value = std::nullopt};
  return {.is_refused = false, .value = Directory(exif).orientation()};
}

}  // namespace millrace
