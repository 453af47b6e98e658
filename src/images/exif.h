// EXIF: what a picture says of its origin, in the form that cameras and viewers share (CIPA DC-008, TIFF 6.0).
#pragma once

#include <string>

namespace millrace {

// Texts are UTF-8; empty ones are left out. (EXIF's own type for text is ASCII; UTF-8 in its place is what most readers
// expect.)
struct ExifTags {
  std::string image_description;  // 0x010e
  std::string make;               // 0x010f
  std::string model;              // 0x0110
  std::string software;           // 0x0131

  bool empty() const { return image_description.empty() && make.empty() && model.empty() && software.empty(); }
};

// A TIFF header and one directory, as PNG's eXIf chunk and (behind "Exif\0\0") JPEG's APP1 segment hold it. A text ends
// at its first zero byte. Empty for no tags.
std::string exif_block(const ExifTags& tags);

}  // namespace millrace
