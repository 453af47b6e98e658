#include "images/exif.h"

#include <cstdint>
#include <utility>
#include <vector>

namespace millrace {
namespace {

constexpr uint32_t kHeaderBytes = 8, kEntryBytes = 12;
constexpr uint16_t kAsciiType = 2;

void append(std::string& out, uint32_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

}  // namespace

std::string exif_block(const ExifTags& tags) {
  std::vector<std::pair<uint16_t, std::string>> entries;  // ascending, as TIFF wants them
  for (const auto& [tag, text] : {std::pair<uint16_t, std::string>{0x010e, tags.image_description},
                                  {0x010f, tags.make},
                                  {0x0110, tags.model},
                                  {0x0131, tags.software}}) {
    if (!text.empty()) entries.emplace_back(tag, text.substr(0, text.find('\0')) + '\0');
  }
  if (entries.empty()) return "";

  std::string out = "II*";  // little-endian
  out += '\0';
  append(out, kHeaderBytes, 4);
  append(out, static_cast<uint32_t>(entries.size()), 2);
  std::string texts;
  const uint32_t texts_begin = kHeaderBytes + 2 + static_cast<uint32_t>(entries.size()) * kEntryBytes + 4;
  for (const auto& [tag, text] : entries) {
    append(out, tag, 2);
    append(out, kAsciiType, 2);
    append(out, static_cast<uint32_t>(text.size()), 4);
    if (text.size() <= 4) {  // fits where the offset would be
      out += text + std::string(4 - text.size(), '\0');
      continue;
    }
    append(out, texts_begin + static_cast<uint32_t>(texts.size()), 4);
    texts += text;
    if (texts.size() % 2 != 0) texts += '\0';  // values begin at even offsets
  }
  append(out, 0, 4);  // no further directory
  return out + texts;
}

}  // namespace millrace
