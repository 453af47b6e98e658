#include "images/picture_header.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "images/bmp.h"
#include "images/decode.h"
#include "images/orientation.h"
#include "images/png_chunks.h"

namespace millrace {
namespace {

// Components of the frame (ITU-T T.81, B.2.2): 1, 3 or 4; 0: no frame header was found.
int jpeg_components(std::string_view file) {
  for (size_t at = 2; at + 10 <= file.size();) {
    if (static_cast<unsigned char>(file[at]) != 0xFF) return 0;
    const auto marker = static_cast<unsigned char>(file[at + 1]);
    if (marker == 0xFF) {  // a fill byte
      ++at;
      continue;
    }
    const bool is_frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (is_frame) return static_cast<unsigned char>(file[at + 9]);
    const bool has_no_length = marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8);
    at += has_no_length ? 2 : 2 + big_endian(file, at + 2, 2);
  }
  return 0;
}

void note_png(std::string_view file, std::vector<std::string>& notes) {
  PngChunk chunk;
  for (size_t at = kPngSignatureBytes; read_png_chunk(file, at, chunk) && chunk.is_whole(file); at = chunk.end()) {
    if (chunk.type == "IHDR" && chunk.length >= 13) {
      const std::string_view header = chunk.data(file);
      if (header[8] == 16) notes.emplace_back("16 bits per channel");
      if (header[9] == 4 || header[9] == 6) notes.emplace_back("transparent");
    }
    if (chunk.type == "tRNS") notes.emplace_back("transparent");
    if (chunk.type == "acTL") notes.emplace_back("animated");
    if (chunk.type == "IDAT") break;  // an animation is announced before
  }
}

void note_webp(std::string_view file, std::vector<std::string>& notes) {
  if (file.size() < 21 || file.substr(12, 4) != "VP8X") return;  // only the extended format has either
  const auto flags = static_cast<unsigned char>(file[20]);
  if ((flags & 0x02) != 0) notes.emplace_back("animated");
  if ((flags & 0x10) != 0) notes.emplace_back("transparent");
}

}  // namespace

PictureHeader read_picture_header(std::span<const std::byte> file, const std::string& name) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  PictureHeader header;
  if (is_bmp(file)) {
    const BmpHeader bmp = read_bmp_header(file, name);
    header.format = "BMP";
    header.width = bmp.width;
    header.height = bmp.height;
    return header;
  }
  const ImageInfo info = *probe_image(file, name);
  header.format = image_format_name(info.format);
  header.orientation = read_orientation(file);
  const bool is_turned = header.orientation >= 5;
  header.width = is_turned ? info.height : info.width;
  header.height = is_turned ? info.width : info.height;
  switch (info.format) {
    case ImageFormat::kJpeg:
      if (jpeg_components(text) == 4) header.notes.emplace_back("CMYK");
      break;
    case ImageFormat::kPng:
      note_png(text, header.notes);
      break;
    case ImageFormat::kWebp:
      note_webp(text, header.notes);
      break;
  }
  return header;
}

}  // namespace millrace
