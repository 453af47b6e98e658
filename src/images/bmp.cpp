#include "images/bmp.h"

#include <algorithm>
#include <cstdlib>

#include "base/error.h"

namespace millrace {
namespace {

[[noreturn]] void fail(const std::string& name, const std::string& expected, const std::string& got) {
  throw DataError("[" + name + "] expected " + expected + ", got " + got);
}

uint32_t little_endian(std::span<const std::byte> file, size_t at, size_t bytes) {
  uint32_t value = 0;
  for (size_t i = 0; i < bytes; ++i) value |= static_cast<uint32_t>(file[at + i]) << 8 * i;
  return value;
}

size_t row_bytes(const BmpHeader& header) {  // rows fill whole words
  return (static_cast<size_t>(header.width) * static_cast<size_t>(header.bits_per_pixel) / 8 + 3) / 4 * 4;
}

}  // namespace

bool is_bmp(std::span<const std::byte> file) {
  return file.size() >= 2 && file[0] == std::byte{'B'} && file[1] == std::byte{'M'};
}

BmpHeader read_bmp_header(std::span<const std::byte> file, const std::string& name) {
  if (file.size() < 54) fail(name, "a whole bitmap", "a file of " + std::to_string(file.size()) + " bytes");
  const size_t info_bytes = little_endian(file, 14, 4);
  if (info_bytes < 40) fail(name, "a bitmap of Windows 3 or later", "an older kind");
  BmpHeader header;
  header.width = static_cast<int32_t>(little_endian(file, 18, 4));
  const auto height = static_cast<int32_t>(little_endian(file, 22, 4));
  header.is_top_down = height < 0;
  if (header.width <= 0 || height == 0 || height < -0x7FFFFFFF) {
    fail(name, "a picture", std::to_string(header.width) + " x " + std::to_string(height) + " pixels");
  }
  header.height = std::abs(height);
  header.bits_per_pixel = static_cast<int>(little_endian(file, 28, 2));
  const uint32_t compression = little_endian(file, 30, 4);
  const bool is_known = header.bits_per_pixel == 8 || header.bits_per_pixel == 24 || header.bits_per_pixel == 32;
  // 3: masks for the channels, which are the usual ones wherever this is met.
  if (!is_known || (compression != 0 && !(compression == 3 && header.bits_per_pixel == 32))) {
    fail(name, "an uncompressed bitmap of 8, 24 or 32 bits",
         std::to_string(header.bits_per_pixel) + " bits, compression " + std::to_string(compression) +
             " (try converting it to PNG)");
  }
  if (header.bits_per_pixel == 8) {
    const uint32_t colours = little_endian(file, 46, 4);
    header.palette_size = colours == 0 ? 256 : std::min<uint32_t>(colours, 256);
    header.palette_at = 14 + info_bytes;
  }
  header.pixels_at = little_endian(file, 10, 4);
  return header;
}

Image decode_bmp(std::span<const std::byte> file, const std::string& name, uint64_t max_pixels) {
  const BmpHeader header = read_bmp_header(file, name);
  const uint64_t pixels = static_cast<uint64_t>(header.width) * static_cast<uint64_t>(header.height);
  if (pixels > max_pixels) {
    fail(name, "at most " + std::to_string(max_pixels) + " pixels",
         std::to_string(header.width) + " x " + std::to_string(header.height));
  }
  const size_t needed = row_bytes(header) * static_cast<size_t>(header.height);
  const bool has_palette = header.palette_at + 4 * header.palette_size <= file.size();
  if (header.pixels_at > file.size() || file.size() - header.pixels_at < needed || !has_palette) {
    fail(name, "a whole bitmap", "one cut short");
  }
  Image image;
  image.reshape(header.width, header.height, 3);
  const auto byte = [&](size_t at) { return static_cast<uint8_t>(file[at]); };
  const size_t step = static_cast<size_t>(header.bits_per_pixel) / 8;
  for (int y = 0; y < header.height; ++y) {
    const int line = header.is_top_down ? y : header.height - 1 - y;
    const size_t row = header.pixels_at + row_bytes(header) * static_cast<size_t>(line);
    uint8_t* out = image.row(y);
    for (size_t x = 0; x < static_cast<size_t>(header.width); ++x, out += 3) {
      size_t at = row + x * step;  // blue, green, red
      if (step == 1) {
        const size_t colour = byte(at);
        if (colour >= header.palette_size) fail(name, "colours of the palette", "colour " + std::to_string(colour));
        at = header.palette_at + 4 * colour;
      }
      out[0] = byte(at + 2);
      out[1] = byte(at + 1);
      out[2] = byte(at);
    }
  }
  return image;
}

}  // namespace millrace
