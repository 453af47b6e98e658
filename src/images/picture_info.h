// What Pillow keeps of a picture beside its pixels (Image.info), as far as it tells how the picture is held, and what
// Pillow refuses while it reads that (internal to images/). The formats: ITU-T T.81 annex B, PNG's specification of
// 2003 with its extensions, WebP's container specification; what of damage is refused and what passes is as in Pillow.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace millrace {

struct PictureInfo {
  struct Entry {
    std::string content;
    bool is_text = false;  // a str of Python, where Pillow expects bytes: it fails on it
  };
  std::optional<Entry> exif;               // a TIFF structure, "Exif\0\0" before it or not
  std::optional<std::string> raw_profile;  // PNG text "Raw profile type exif": EXIF in hexadecimal digits
  std::optional<std::string> xmp_text;     // PNG text "XML:com.adobe.xmp"
  std::optional<Entry> xmp;
  // Pillow has tried the EXIF data when it opened the file, and forgotten it where it failed.
  bool forgives_exif = false;

  std::string problem;  // why Pillow refuses the file, "expected ..., got ..."; empty: it does not
};

// Of a file that begins with the format's signature. Texts and profiles are decompressed, one at a time.
PictureInfo read_jpeg_info(std::string_view file);
PictureInfo read_webp_info(std::string_view file);
// checks_pixels: whether to decompress the picture data as well, as Pillow would.
PictureInfo read_png_info(std::string_view file, bool checks_pixels);

// What the file is, by its first bytes; empty info for anything else.
PictureInfo read_picture_info(std::string_view file, bool checks_pixels);

}  // namespace millrace
