// The orientation in EXIF data (internal to images/).
#pragma once

#include <optional>
#include <string_view>

namespace millrace {

struct ExifOrientation {
  bool is_refused = false;   // not a TIFF structure: Pillow throws
  std::optional<int> value;  // 1 to 8; 1 also for a value that is not an orientation; nullopt: there is none
};

// exif: a TIFF structure, with "Exif\0\0" before it at most twice. Read as Pillow's Image.Exif reads it: the first
// directory from its start up to the first entry with missing data (TIFF 6.0, section 2).
ExifOrientation read_exif_orientation(std::string_view exif);

}  // namespace millrace
