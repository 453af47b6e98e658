#include "images/orientation.h"

#include <cstring>
#include <optional>
#include <string_view>

#include "images/exif_orientation.h"
#include "images/picture_info.h"

namespace millrace {
namespace {

// tiff:Orientation="6" or <tiff:Orientation>6</tiff:Orientation>, the first that is a digit.
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

// Pairs of hexadecimal digits from the fourth line on, with white space between them; nullopt: something else.
std::optional<std::string> unpack_profile(std::string_view text) {
  for (int line = 0; line < 3; ++line) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) return "";
    text.remove_prefix(end + 1);
  }
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string bytes;
  int first = -1;
  for (const char c : text) {
    if (c == '\n' || (first < 0 && (c == ' ' || (c >= '\t' && c <= '\r')))) continue;
    const int value = digit(c);
    if (value < 0) return std::nullopt;
    if (first >= 0) bytes += static_cast<char>(first << 4 | value);
    first = first < 0 ? value : -1;
  }
  return first < 0 ? std::optional(bytes) : std::nullopt;
}

// Image.getexif(), as used by ImageOps.exif_transpose().
int orientation_of(const PictureInfo& info, std::string& problem) {
  ExifOrientation found;
  if (info.exif) {
    if (info.exif->is_text) {
      problem = "text in place of EXIF data";
      return 1;
    }
    found = read_exif_orientation(info.exif->content);
  } else if (info.raw_profile) {
    const std::optional<std::string> profile = unpack_profile(*info.raw_profile);
    if (!profile) {
      problem = "an EXIF profile that is not hexadecimal";
      return 1;
    }
    found = read_exif_orientation(*profile);
  }
  if (found.is_refused) {
    if (!info.forgives_exif) problem = "EXIF data that is not a TIFF structure";
    return 1;
  }
  if (found.value) return *found.value;
  if (info.xmp_text && !info.xmp_text->empty()) return xmp_orientation(*info.xmp_text);
  if (!info.xmp || info.xmp->content.empty()) return 1;
  if (info.xmp->is_text) problem = "text in place of XMP data";
  return xmp_orientation(info.xmp->content);
}

}  // namespace

PictureInfo read_picture_info(std::string_view file, bool checks_pixels) {
  if (file.starts_with("\xFF\xD8\xFF")) return read_jpeg_info(file);
  if (file.starts_with("\x89PNG\r\n\x1A\n")) return read_png_info(file, checks_pixels);
  if (file.starts_with("RIFF") && file.substr(0, 12).ends_with("WEBP")) return read_webp_info(file);
  return {};
}

int read_orientation(std::span<const std::byte> bytes, std::string* problem) {
  const PictureInfo info = read_picture_info({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, false);
  std::string exif_problem;
  const int orientation = orientation_of(info, exif_problem);
  if (problem) {
    *problem = info.problem;
    if (problem->empty() && !exif_problem.empty())
      *problem = "expected EXIF data that can be read, got " + exif_problem;
  }
  return orientation;
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
