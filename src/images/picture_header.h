// What the header of a picture file tells, without decoding it: its size as it is seen, and what is unusual about it.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace millrace {

struct PictureHeader {
  std::string format;  // "JPEG", "PNG", "WebP", "BMP"
  int width = 0;       // upright: EXIF orientation applied
  int height = 0;
  int orientation = 1;  // 1 to 8, as in EXIF
  // "animated", "16 bits per channel", "CMYK", "transparent": what training takes the first frame, the high bytes, a
  // conversion or the colours alone of.
  std::vector<std::string> notes;
};

// Throws DataError naming `name`: no JPEG, PNG, WebP or BMP, or a damaged header.
PictureHeader read_picture_header(std::span<const std::byte> file, const std::string& name);

}  // namespace millrace
