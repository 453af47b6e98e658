// Windows bitmaps without compression: 8 bits with a palette, 24 or 32 bits (the BITMAPINFOHEADER family).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "images/image.h"

namespace millrace {

struct BmpHeader {
  int width = 0;
  int height = 0;
  bool is_top_down = false;
  int bits_per_pixel = 0;  // 8, 24 or 32
  size_t palette_at = 0, palette_size = 0;
  size_t pixels_at = 0;
};

bool is_bmp(std::span<const std::byte> file);

// Throw DataError naming `name`: damage, another kind of bitmap, a file too short for its pixels, more than max_pixels.
BmpHeader read_bmp_header(std::span<const std::byte> file, const std::string& name);
Image decode_bmp(std::span<const std::byte> file, const std::string& name, uint64_t max_pixels);

}  // namespace millrace
