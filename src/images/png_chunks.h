// The chunks of a PNG (ISO/IEC 15948, section 5.3), for its readers (internal to images/).
#pragma once

#include <zlib.h>

#include <cstdint>
#include <string_view>
#include <vector>

#include "images/big_endian.h"

namespace millrace {

constexpr size_t kPngSignatureBytes = 8;

struct PngChunk {
  std::string_view type;
  size_t data_at;
  uint32_t length;  // as declared: the data may be truncated

  bool is_whole(std::string_view file) const { return length <= file.size() - data_at; }
  std::string_view data(std::string_view file) const { return file.substr(data_at, length); }
  // Requires a chunk with complete data. Also false if the file ends before the checksum.
  bool has_right_checksum(std::string_view file) const {
    const size_t at = data_at + length;
    if (file.size() - at < 4) return false;
    const auto* begin = reinterpret_cast<const Bytef*>(file.data() + data_at - 4);
    return big_endian(file, at, 4) == crc32(0, begin, length + 4);
  }
  size_t end() const { return data_at + size_t{length} + 4; }
};

// The chunk that begins there. False: fewer than 8 bytes are left, or there is no valid chunk type.
inline bool read_png_chunk(std::string_view file, size_t at, PngChunk& chunk) {
  if (at > file.size() || file.size() - at < 8) return false;
  chunk = {file.substr(at + 4, 4), at + 8, big_endian(file, at, 4)};
  for (const char c : chunk.type) {
    const bool is_word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!is_word) return false;
  }
  return true;
}

// The position of a frame's pixels in the picture.
struct PngFrame {
  uint32_t x = 0, y = 0, width = 0, height = 0;
};

// An animation's description of the next frame, from an fcTL chunk of at least 26 bytes.
inline PngFrame read_png_frame(std::string_view data) {
  return {big_endian(data, 12, 4), big_endian(data, 16, 4), big_endian(data, 4, 4), big_endian(data, 8, 4)};
}

// Everything needed to decode the pixels. As in Pillow, the picture data is the first consecutive run of such chunks,
// whatever their checksums; a frame of an animation counts as the picture if it comes first.
struct PngPixelData {
  std::string_view header;   // 13 bytes
  std::string_view palette;  // empty: none
  PngFrame frame;
  std::vector<std::string_view> pieces;  // the last may be truncated
  bool is_cut = false;                   // the file ends within or right after the picture data

  uint32_t width() const { return big_endian(header, 0, 4); }
  uint32_t height() const { return big_endian(header, 4, 4); }
  int bits_per_pixel() const;  // 0: invalid combination of depth and colour type
  bool is_interlaced() const { return header[12] != 0; }
};

// problem: set when picture data is missing or a required chunk is damaged; the result is then useless.
PngPixelData find_png_pixel_data(std::string_view file, const char*& problem);

// Decompresses all rows, keeps none, and returns why Pillow would refuse them; nullptr: it would not. pieces_used: how
// many were needed.
const char* find_png_pixel_problem(const PngPixelData& data, size_t& pieces_used);

}  // namespace millrace
