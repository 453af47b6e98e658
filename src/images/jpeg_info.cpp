// Reads the segments of a JPEG before its picture data like Pillow's JpegImagePlugin.
#include <algorithm>

#include "images/big_endian.h"
#include "images/picture_info.h"

namespace millrace {
namespace {

using namespace std::string_view_literals;

struct RefusedSegment {
  const char* got;
};

class JpegSegments {
 public:
  explicit JpegSegments(std::string_view file) : file_(file) {}

  PictureInfo read() {
    try {
      walk();
      if (!has_frame_) throw RefusedSegment{"none before its picture data"};
      if (!has_scan_) throw RefusedSegment{"no picture data"};
    } catch (const RefusedSegment& refused) {
      info_.problem = std::string("expected a JPEG with sound segments, got ") + refused.got;
    }
    info_.forgives_exif = !has_density_;
    return info_;
  }

 private:
  // Between segments everything except a marker is skipped; 0xFF may be repeated.
  void walk() {
    at_ = 3;
    bool is_marker = true;  // the byte before is 0xFF
    while (at_ < file_.size()) {
      const auto byte = static_cast<unsigned char>(file_[at_++]);
      if (!is_marker) {
        is_marker = byte == 0xFF;
      } else if (byte == 0xFF) {
        continue;
      } else if (byte == 0x00) {
        is_marker = false;
      } else {
        if (byte < 0xC0) throw RefusedSegment{"an unknown marker"};
        segment(byte);
        if (byte == 0xDA) {
          has_scan_ = true;
          return;
        }
        is_marker = false;
      }
    }
  }

  static bool has_content(unsigned marker) {
    const bool stands_alone = (marker >= 0xD0 && marker <= 0xD9) || marker == 0xC8 || (marker >= 0xF0 && marker < 0xFE);
    return !stands_alone;
  }

  void segment(unsigned marker) {
    if (!has_content(marker)) return;
    if (file_.size() - at_ < 2) throw RefusedSegment{"one cut short"};
    const size_t length = std::max<size_t>(big_endian(file_, at_, 2), 2) - 2;
    at_ += 2;
    if (length > file_.size() - at_) throw RefusedSegment{"one cut short"};
    const std::string_view content = file_.substr(at_, length);
    at_ += length;
    const bool is_frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xCC;
    if (is_frame || marker == 0xDE) frame(content);
    if (marker == 0xDB) quantisation(content);
    if (marker >= 0xE0 && marker <= 0xEF) application(marker, content);
  }

  void frame(std::string_view content) {
    if (content.size() < 6) throw RefusedSegment{"a frame header that is too short"};
    if (content[0] != 8) throw RefusedSegment{"a frame of other than 8 bits"};
    const int layers = static_cast<unsigned char>(content[5]);
    if (layers != 1 && layers != 3 && layers != 4) throw RefusedSegment{"a frame of other than 1, 3 or 4 components"};
    if (content.size() % 3 != 0) throw RefusedSegment{"a frame header of the wrong length"};
    if (has_short_profile_) throw RefusedSegment{"an ICC profile that is too short"};
    has_frame_ = true;
  }

  static void quantisation(std::string_view content) {
    while (!content.empty()) {
      const size_t bytes = 1 + (static_cast<unsigned char>(content[0]) < 16 ? 64 : 128);
      if (content.size() < bytes) throw RefusedSegment{"a quantisation table that is too short"};
      content.remove_prefix(bytes);
    }
  }

  void application(unsigned marker, std::string_view content) {
    constexpr std::string_view kExif = "Exif\0\0"sv, kXmp = "http://ns.adobe.com/xap/1.0/\0"sv;
    if (marker == 0xE0 && content.starts_with("JFIF")) {
      if (content.size() < 7) throw RefusedSegment{"a JFIF segment that is too short"};
      if (content.size() >= 12) has_density_ = has_density_ || content[7] == 1 || content[7] == 2;
    } else if (marker == 0xE1 && content.starts_with(kExif)) {
      // Several EXIF segments are parts of one, split at 64 KiB.
      if (!info_.exif) {
        info_.exif = PictureInfo::Entry{std::string(content)};
      } else {
        info_.exif->content += content.substr(kExif.size());
      }
    } else if (marker == 0xE1 && content.starts_with(kXmp)) {
      info_.xmp = PictureInfo::Entry{std::string(content.substr(kXmp.size()))};
    } else if (marker == 0xE2 && content.starts_with("ICC_PROFILE\0"sv)) {
      profile(content);
    } else if (marker == 0xED && content.starts_with("Photoshop 3.0\0"sv)) {
      photoshop(content);
    } else if (marker == 0xEE && content.starts_with("Adobe") && content.size() < 7) {
      throw RefusedSegment{"an Adobe segment that is too short"};
    }
  }

  // The pieces are put in order at the frame header, where the first must say how many there are.
  void profile(std::string_view content) {
    const bool is_first = first_profile_.empty() || content < first_profile_;
    if (is_first) first_profile_ = content;
    has_short_profile_ = first_profile_.size() < 14;
  }

  // Only a resource whose name lies outside the segment is refused.
  static void photoshop(std::string_view content) {
    constexpr uint32_t kResolution = 0x03ED;
    size_t at = 14;
    while (at <= content.size() && content.substr(at).starts_with("8BIM")) {
      at += 6;
      if (at > content.size()) return;
      const uint32_t code = big_endian(content, at - 2, 2);
      if (at == content.size()) throw RefusedSegment{"a Photoshop resource without a name"};
      at += 1 + static_cast<unsigned char>(content[at]);
      at += at & 1;
      if (at + 4 > content.size()) return;
      const size_t size = big_endian(content, at, 4);
      at += 4;
      if (code == kResolution && content.substr(at, size).size() < 14) return;
      at += size;
      at += at & 1;
    }
  }

  std::string_view file_;
  size_t at_ = 0;
  PictureInfo info_;
  bool has_frame_ = false, has_scan_ = false, has_density_ = false, has_short_profile_ = false;
  std::string_view first_profile_;
};

}  // namespace

PictureInfo read_jpeg_info(std::string_view file) {
  return JpegSegments(file).read();
}

}  // namespace millrace
