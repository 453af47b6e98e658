#include "images/orientation.h"

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

namespace millrace {
namespace {

constexpr int kOrientationTag = 0x0112;

std::string_view text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

uint32_t big_endian(std::string_view text, size_t at, int bytes) {
  uint32_t value = 0;
  for (int i = 0; i < bytes; ++i) value = value << 8 | static_cast<unsigned char>(text[at + static_cast<size_t>(i)]);
  return value;
}

struct Metadata {
  std::string exif;
  std::string xmp;
  bool has_density = false;  // in a JPEG's JFIF segment
};

// The segments before the picture data (JPEG: ITU-T T.81 annex B). Several EXIF segments are one, cut at 64 KiB.
Metadata jpeg_metadata(std::string_view file) {
  Metadata found;
  constexpr std::string_view kExif("Exif\0\0", 6), kXmp("http://ns.adobe.com/xap/1.0/\0", 29);
  size_t at = 2;
  while (at + 4 <= file.size()) {
    if (file[at] != '\xFF') {
      ++at;
      continue;
    }
    const auto marker = static_cast<unsigned char>(file[at + 1]);
    if (marker == 0xFF) {
      ++at;
      continue;
    }
    if (marker == 0xDA) break;
    at += 2;
    if (marker == 0x00 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD9)) continue;
    const size_t length = big_endian(file, at, 2);
    if (length < 2 || length > file.size() - at) break;
    const std::string_view content = file.substr(at + 2, length - 2);
    if (marker == 0xE1 && content.starts_with(kExif)) {
      found.exif += found.exif.empty() ? content : content.substr(kExif.size());
    } else if (marker == 0xE1 && content.starts_with(kXmp)) {
      found.xmp = content.substr(kXmp.size());
    } else if (marker == 0xE0 && content.starts_with("JFIF") && content.size() >= 12) {
      found.has_density = content[7] == 1 || content[7] == 2;
    }
    at += length;
  }
  return found;
}

Metadata png_metadata(std::string_view file) {
  Metadata found;
  for (size_t at = 8; at + 12 <= file.size();) {
    const uint32_t length = big_endian(file, at, 4);
    if (length > file.size() - at - 12) break;
    if (file.substr(at + 4, 4) == "eXIf") found.exif = file.substr(at + 8, length);
    at += size_t{length} + 12;
  }
  return found;
}

// The first image file directory of a TIFF structure (TIFF 6.0, section 2).
class Directory {
 public:
  explicit Directory(std::string_view data) : data_(data), little_endian_(data.starts_with("II")) {}

  uint32_t number(size_t at, int bytes) const {
    if (!little_endian_) return big_endian(data_, at, bytes);
    uint32_t value = 0;
    for (int i = bytes; i > 0; --i)
      value = value << 8 | static_cast<unsigned char>(data_[at + static_cast<size_t>(i) - 1]);
    return value;
  }

  // PIL reads the directory from its start and stops at the first entry whose data lies outside.
  std::optional<int> orientation() const {
    size_t at = number(4, 4);
    if (at + 2 > data_.size()) return std::nullopt;
    const uint32_t entries = number(at, 2);
    at += 2;
    uint64_t outside = 0;
    for (uint32_t i = 0; i < entries && at + 12 <= data_.size(); ++i, at += 12) {
      const int unit = unit_bytes(number(at + 2, 2));
      const uint64_t size = uint64_t{number(at + 4, 4)} * static_cast<uint64_t>(unit);
      if (size > 4) {
        if (outside + size > data_.size()) continue;
        outside += size;
        if (number(at + 8, 4) + size > data_.size()) return std::nullopt;
      } else if (size > 0 && number(at, 2) == kOrientationTag) {
        return value(at);
      }
    }
    return std::nullopt;
  }

 private:
  // By the entry's type; 0: unknown, passed over.
  static int unit_bytes(uint32_t type) {
    constexpr int kBytes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4};
    if (type == 16) return 8;
    return type < std::size(kBytes) ? kBytes[type] : 0;
  }
  // One whole number of 16 or 32 bits; 1 for what is no orientation.
  int value(size_t at) const {
    const uint32_t type = number(at + 2, 2), count = number(at + 4, 4);
    const bool is_short = type == 3 || type == 8, is_long = type == 4 || type == 9 || type == 13;
    if (count != 1 || !(is_short || is_long)) return 1;
    const uint32_t number_there = number(at + 8, is_short ? 2 : 4);
    return number_there >= 1 && number_there <= 8 ? static_cast<int>(number_there) : 1;
  }

  std::string_view data_;
  bool little_endian_;
};

// tiff:Orientation="6" or <tiff:Orientation>6</tiff:Orientation>
int xmp_orientation(std::string_view xmp) {
  constexpr std::string_view kName = "tiff:Orientation";
  for (size_t at = xmp.find(kName); at != std::string_view::npos; at = xmp.find(kName, at + 1)) {
    std::string_view rest = xmp.substr(at + kName.size());
    if (rest.starts_with("=\"")) {
      rest.remove_prefix(2);
    } else if (rest.starts_with(">")) {
      rest.remove_prefix(1);
    } else {
      continue;
    }
    if (rest.empty() || rest[0] < '0' || rest[0] > '9') continue;
    return rest[0] >= '1' && rest[0] <= '8' ? rest[0] - '0' : 1;
  }
  return 1;
}

bool is_tiff(std::string_view data) {
  for (const char* order : {"MM", "II"}) {
    for (const std::string_view magic : {std::string_view("\0\x2A", 2), std::string_view("\x2A\0", 2)}) {
      if (data.starts_with(order) && data.substr(2).starts_with(magic)) return data.size() >= 8;
    }
  }
  return false;
}

}  // namespace

int read_orientation(std::span<const std::byte> bytes, std::string* problem) {
  const std::string_view file = text_of(bytes);
  Metadata found;
  if (file.starts_with("\xFF\xD8\xFF")) found = jpeg_metadata(file);
  if (file.starts_with("\x89PNG")) found = png_metadata(file);
  std::string_view exif = found.exif;
  for (int i = 0; i < 2 && exif.starts_with(std::string_view("Exif\0\0", 6)); ++i) exif.remove_prefix(6);
  if (!exif.empty()) {
    if (is_tiff(exif)) {
      if (const auto orientation = Directory(exif).orientation()) return *orientation;
    } else {
      // PIL looks for a density there when it opens the file, and has then forgiven the damage.
      const bool is_forgiven = file.starts_with("\xFF") && !found.has_density;
      if (problem && !is_forgiven) *problem = "EXIF data that is no TIFF structure";
      return 1;
    }
  }
  return xmp_orientation(found.xmp);
}

Image turn_upright(const Image& image, int orientation) {
  if (orientation < 2 || orientation > 8) return image;
  const bool swaps_axes = orientation >= 5;
  Image out;
  out.reshape(swaps_axes ? image.height : image.width, swaps_axes ? image.width : image.height, image.channels);
  const auto channels = static_cast<size_t>(image.channels);
  const int w = image.width, h = image.height;
  for (int y = 0; y < out.height; ++y) {
    for (int x = 0; x < out.width; ++x) {
      int from_x = swaps_axes ? y : x, from_y = swaps_axes ? x : y;
      if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8) from_x = w - 1 - from_x;
      if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) from_y = h - 1 - from_y;
      std::memcpy(out.row(y) + static_cast<size_t>(x) * channels,
                  image.row(from_y) + static_cast<size_t>(from_x) * channels, channels);
    }
  }
  return out;
}

}  // namespace millrace
