// Reads the chunks of a PNG like Pillow's PngImagePlugin: in order, verifying checksums up to the picture data but not
// after it, each kind by its own rule.
#include <algorithm>
#include <map>

#include "base/text.h"
#include "images/picture_info.h"
#include "images/png_chunks.h"

namespace millrace {
namespace {

constexpr size_t kMaxText = 1 << 20;         // decompressed; PngImagePlugin.MAX_TEXT_CHUNK
constexpr size_t kMaxTexts = 64 * kMaxText;  // of all text chunks together; PngImagePlugin.MAX_TEXT_MEMORY
constexpr size_t kMaxPaletteBytes = 3 * 256;

struct RefusedChunk {
  std::string got;
};

// At most kMaxText bytes; nullopt where the data is damaged, which passes as an empty text. RefusedChunk when there is
// more.
std::optional<std::string> decompress(std::string_view data, const std::string& what) {
  z_stream stream = {};
  if (inflateInit(&stream) != Z_OK) return std::nullopt;
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  std::string text;
  Bytef buffer[1 << 14];
  int status = Z_OK;
  do {
    stream.next_out = buffer;
    stream.avail_out = static_cast<uInt>(std::min(sizeof buffer, kMaxText - text.size()));
    const uInt room = stream.avail_out;
    status = inflate(&stream, Z_SYNC_FLUSH);
    text.append(reinterpret_cast<const char*>(buffer), room - stream.avail_out);
  } while (status == Z_OK && stream.avail_out == 0 && text.size() < kMaxText);
  inflateEnd(&stream);
  const bool has_more = (status == Z_OK || status == Z_BUF_ERROR) && stream.avail_in > 0;
  if (has_more && text.size() == kMaxText) throw RefusedChunk{"a " + what + " of more than 1 MiB"};
  const bool is_sound = status == Z_OK || status == Z_BUF_ERROR || status == Z_STREAM_END;
  return is_sound ? std::optional(std::move(text)) : std::nullopt;
}

size_t utf8_length(std::string_view text) {
  size_t length = 0;
  for (const char c : text) length += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  return length;
}

class PngChunks {
 public:
  explicit PngChunks(std::string_view file) : file_(file) {}

  PictureInfo read(bool checks_pixels) {
    try {
      read_to_picture_data();
      const char* problem = nullptr;
      const PngPixelData data = find_png_pixel_data(file_, problem);
      size_t pieces_used = data.pieces.size();
      if (!problem && checks_pixels) problem = find_png_pixel_problem(data, pieces_used);
      if (problem) throw RefusedChunk{problem};
      if (colour_type_ == 3 && data.palette.size() > kMaxPaletteBytes) {
        throw RefusedChunk{"a palette of more than 256 colours"};
      }
      read_behind(pieces_used);
    } catch (const RefusedChunk& refused) {
      info_.problem = "expected a whole PNG, got " + refused.got;
    }
    return info_;
  }

 private:
  void read_to_picture_data() {
    for (at_ = kPngSignatureBytes;; at_ = chunk_.end()) {
      if (!read_png_chunk(file_, at_, chunk_)) throw RefusedChunk{"one cut short, or something that is not a chunk"};
      has_picture_of_its_own_ = chunk_.type == "IDAT" && num_frames_ && !has_frame_;
      if (chunk_.type == "IDAT" || chunk_.type == "IEND") return;
      handle();
      if (chunk_.type == "fdAT") return;
      if (!chunk_.has_right_checksum(file_)) throw RefusedChunk{"a wrong checksum of " + std::string(chunk_.type)};
    }
  }

  // pieces_used: how many chunks of picture data the decoder took before it had all rows.
  void read_behind(size_t pieces_used) {
    const uint32_t frames = num_frames_.value_or(1) + (has_picture_of_its_own_ ? 1 : 0);
    for (size_t piece = 0; chunk_.type == "IDAT" || chunk_.type == "DDAT" || chunk_.type == "fdAT"; ++piece) {
      if (piece >= pieces_used) whole_data();
      if (!next()) return;
      if (chunk_.type == "fdAT") handle();
    }
    while (chunk_.type != "IEND" && !(chunk_.type == "fcTL" && frames > 1)) {
      if (chunk_.type == "IDAT") {
        whole_data();
      } else {
        handle();
      }
      if (!next()) return;
    }
  }

  bool next() { return read_png_chunk(file_, chunk_.end(), chunk_); }

  std::string_view whole_data() const {
    if (!chunk_.is_whole(file_)) throw RefusedChunk{"a chunk " + std::string(chunk_.type) + " cut short"};
    return chunk_.data(file_);
  }

  void handle() {
    static const std::map<std::string_view, void (PngChunks::*)(std::string_view)> kHandlers = {
        {"IHDR", &PngChunks::header}, {"tRNS", &PngChunks::transparency}, {"iCCP", &PngChunks::profile},
        {"tEXt", &PngChunks::text},   {"zTXt", &PngChunks::packed_text},  {"iTXt", &PngChunks::international_text},
        {"eXIf", &PngChunks::exif},   {"acTL", &PngChunks::animation},    {"fcTL", &PngChunks::frame_control}};
    static const std::map<std::string_view, size_t> kShortest = {{"IHDR", 13}, {"gAMA", 4}, {"cHRM", 32}, {"sRGB", 1},
                                                                 {"pHYs", 9},  {"acTL", 8}, {"fcTL", 26}, {"fdAT", 4}};
    const auto shortest = kShortest.find(chunk_.type);
    if (shortest != kShortest.end() && chunk_.length < shortest->second) {
      throw RefusedChunk{"a chunk " + std::string(chunk_.type) + " that is too short"};
    }
    if (chunk_.type == "fdAT") return frame_data();
    const std::string_view data = whole_data();
    const auto handler = kHandlers.find(chunk_.type);
    if (handler != kHandlers.end()) (this->*handler->second)(data);
  }

  void header(std::string_view data) {
    if (data[11] != 0) throw RefusedChunk{"an unknown kind of filters"};
    width_ = big_endian(data, 0, 4);
    height_ = big_endian(data, 4, 4);
    colour_type_ = data[9];
  }

  void transparency(std::string_view data) {
    const size_t shortest = colour_type_ == 0 ? 2 : colour_type_ == 2 ? 6 : 0;
    if (data.size() < shortest) throw RefusedChunk{"a chunk tRNS that is too short"};
  }

  void profile(std::string_view data) {
    const size_t name_end = data.find('\0');
    // Without a zero byte Pillow takes the first byte for the method.
    const size_t method_at = name_end == std::string_view::npos ? 0 : name_end + 1;
    if (method_at >= data.size()) throw RefusedChunk{"a profile without a method of compression"};
    if (data[method_at] != 0) throw RefusedChunk{"a profile with an unknown method of compression"};
    decompress(data.substr(method_at + 1), "profile");
  }

  // Counts it, and keeps it if it is needed later.
  void keep(std::string_view key, std::string content, size_t length, bool is_text) {
    if (key == "exif") info_.exif = PictureInfo::Entry{content, is_text};
    if (key == "xmp") info_.xmp = PictureInfo::Entry{content, true};
    if (key == "Raw profile type exif") info_.raw_profile = content;
    if (key == "XML:com.adobe.xmp") info_.xmp_text = content;
    text_bytes_ += length;
    if (text_bytes_ > kMaxTexts) throw RefusedChunk{"texts of more than 64 MiB"};
  }

  void text(std::string_view data) {
    const size_t end = data.find('\0');
    const std::string_view key = data.substr(0, end);
    const std::string_view value = end == std::string_view::npos ? std::string_view() : data.substr(end + 1);
    if (!key.empty()) keep(key, std::string(value), value.size(), key != "exif");
  }

  void packed_text(std::string_view data) {
    const size_t end = data.find('\0');
    const std::string_view key = data.substr(0, end);
    std::string_view value = end == std::string_view::npos ? std::string_view() : data.substr(end + 1);
    if (!value.empty() && value[0] != 0) throw RefusedChunk{"a text with an unknown method of compression"};
    if (!value.empty()) value.remove_prefix(1);
    std::string unpacked = decompress(value, "text").value_or("");
    const size_t length = unpacked.size();
    if (!key.empty()) keep(key, std::move(unpacked), length, true);
  }

  // Keyword, compression flag and method, language, translated keyword, text. Other forms are skipped.
  void international_text(std::string_view data) {
    const auto cut = [&](std::string_view& rest) -> std::optional<std::string_view> {
      const size_t end = rest.find('\0');
      if (end == std::string_view::npos) return std::nullopt;
      const std::string_view part = rest.substr(0, end);
      rest.remove_prefix(end + 1);
      return part;
    };
    const auto key = cut(data);
    if (!key || data.size() < 2) return;
    const bool is_packed = data[0] != 0;
    const char method = data[1];
    data.remove_prefix(2);
    const auto language = cut(data), translated = language ? cut(data) : std::nullopt;
    if (!translated) return;
    std::string value(data);
    if (is_packed) {
      if (method != 0) return;
      auto unpacked = decompress(data, "text");
      if (!unpacked) return;
      value = std::move(*unpacked);
    }
    if (*key == "XML:com.adobe.xmp") info_.xmp = PictureInfo::Entry{value, false};
    if (!is_valid_utf8(*language) || !is_valid_utf8(*translated) || !is_valid_utf8(value)) return;
    const size_t length = utf8_length(value);
    keep(*key, std::move(value), length, true);
  }

  void exif(std::string_view data) {
    using namespace std::string_literals;
    info_.exif = PictureInfo::Entry{"Exif\0\0"s.append(data), false};
  }

  void animation(std::string_view data) {
    const uint32_t frames = big_endian(data, 0, 4);
    const bool is_first = !num_frames_;  // a second one undoes it
    num_frames_.reset();
    if (is_first && frames > 0 && frames <= 0x80000000) num_frames_ = frames;
  }

  void frame_control(std::string_view data) {
    next_sequence_number(big_endian(data, 0, 4));
    const PngFrame frame = read_png_frame(data);
    if (uint64_t{frame.x} + frame.width > width_ || uint64_t{frame.y} + frame.height > height_)
      throw RefusedChunk{"a frame that is not in the picture"};
    has_frame_ = true;
  }

  void frame_data() {
    if (file_.size() - chunk_.data_at < 4) throw RefusedChunk{"a chunk fdAT cut short"};
    if (!last_sequence_number_) throw RefusedChunk{"frames out of order"};
    next_sequence_number(big_endian(file_, chunk_.data_at, 4));
  }

  void next_sequence_number(uint32_t number) {
    if (number != (last_sequence_number_ ? *last_sequence_number_ + 1 : 0)) throw RefusedChunk{"frames out of order"};
    last_sequence_number_ = number;
  }

  std::string_view file_;
  size_t at_ = 0;
  PngChunk chunk_ = {};
  PictureInfo info_;
  uint32_t width_ = 0, height_ = 0;
  int colour_type_ = -1;
  size_t text_bytes_ = 0;
  std::optional<uint32_t> num_frames_;  // of an animation
  std::optional<uint32_t> last_sequence_number_;
  bool has_frame_ = false;               // an fcTL chunk
  bool has_picture_of_its_own_ = false;  // of an animation: before the first frame
};

}  // namespace

PictureInfo read_png_info(std::string_view file, bool checks_pixels) {
  return PngChunks(file).read(checks_pixels);
}

}  // namespace millrace
