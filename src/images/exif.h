// EXIF: a picture's record of its origin, in the format of cameras and viewers (CIPA DC-008, TIFF 6.0).
#pragma once

#include <string>

namespace millrace {

// Texts are UTF-8; empty ones are left out. (EXIF's text type is ASCII, but most readers accept
// UTF-8.)
struct ExifTags {
  std::string image_description;  // 0x010e
  std::string make;               // 0x010f
  std::string model;              // 0x0110
  std::string software;           // 0x0131

  bool empty() const { return image_description.empty() && make.empty() && model.empty() && software.empty(); }
};

// A TIFF header and one directory, as in PNG's eXIf chunk and (after "Exif\0\0") JPEG's APP1 segment. A text ends at
// its first zero byte. Empty for no tags.
std::string exif_block(const ExifTags& tags);

}  // namespace millrace
