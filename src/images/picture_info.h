// The part of Pillow's Image.info that determines a picture's orientation, and the errors at which Pillow refuses to
// read it (internal to images/). The formats: ITU-T T.81 annex B, PNG's specification of 2003 with its extensions,
// WebP's container specification; damage is tolerated or refused as in Pillow.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace millrace {

struct PictureInfo {
  struct Entry {
    std::string content;
    bool is_text = false;  // a Python str, although Pillow expects bytes and fails on it
  };
  std::optional<Entry> exif;               // a TIFF structure, with or without "Exif\0\0" before it
  std::optional<std::string> raw_profile;  // PNG text "Raw profile type exif": EXIF in hexadecimal digits
  std::optional<std::string> xmp_text;     // PNG text "XML:com.adobe.xmp"
  std::optional<Entry> xmp;
  // Pillow parsed the EXIF data when it opened the file, and dropped it on failure.
  bool forgives_exif = false;

  std::string problem;  // why Pillow refuses the file, "expected ..., got ..."; empty: it does not
};

// For a file that begins with the format's signature. Texts and profiles are decompressed one at a time.
PictureInfo read_jpeg_info(std::string_view file);
PictureInfo read_webp_info(std::string_view file);
// checks_pixels: whether to decompress the picture data too, as Pillow would.
PictureInfo read_png_info(std::string_view file, bool checks_pixels);

// Detects the format by the first bytes; empty info for anything else.
PictureInfo read_picture_info(std::string_view file, bool checks_pixels);

}  // namespace millrace
