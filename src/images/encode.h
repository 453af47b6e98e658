// Pictures to files in memory. Input is RGB or RGBA; the output is the same for the same input on every run.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "images/exif.h"
#include "images/image.h"

namespace millrace {

using PngText = std::vector<std::pair<std::string, std::string>>;  // keyword (1-79 Latin-1 characters), UTF-8 text

// level: zlib's 0 to 9. Texts become iTXt chunks ("parameters", "Description", ...), tags the eXIf chunk.
std::string encode_png(const Image& image, const PngText& texts = {}, const ExifTags& exif = {}, int level = 6);

// quality: 1 to 100; 4:4:4 chroma when full_chroma, else 4:2:0. Alpha is dropped.
std::string encode_jpeg(const Image& image, int quality = 90, bool full_chroma = false);

}  // namespace millrace
