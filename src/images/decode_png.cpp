// libpng gets a file that contains only what the pixels need: header, palette and picture data. So no text, profile or
// checksum that Pillow ignores can stop it, and truncated data simply ends.
#include <png.h>

#include <algorithm>
#include <array>
#include <csetjmp>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "images/codecs.h"
#include "images/png_chunks.h"

namespace millrace::codecs {
namespace {

constexpr size_t kPngHeaderBytes = 8 + 4 + 4 + 13;  // signature, length, "IHDR", the chunk
constexpr char kSignature[] = "\x89PNG\r\n\x1A\n";

void append_length(std::string& out, size_t length) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(length >> shift & 0xFF);
}

void append_chunk(std::string& out, const char* type, std::string_view content) {
  append_length(out, content.size());
  out.append(type).append(content).append(4, '\0');  // a checksum, which is ignored
}

// All colours that pixels can refer to. Missing ones are black, as in Pillow.
std::string full_palette(const PngPixelData& data) {
  const size_t colours = size_t{1} << data.bits_per_pixel();
  std::string palette(data.palette.substr(0, data.palette.size() / 3 * 3).substr(0, 3 * colours));
  palette.resize(3 * colours, '\0');
  return palette;
}

// The file for libpng, in pieces: those of the picture data point into the original file.
struct PngSource {
  explicit PngSource(const PngPixelData& data) {
    std::string header;
    for (const uint32_t side : {data.frame.width, data.frame.height}) append_length(header, side);
    header.append(data.header.substr(8, 2)).append(2, '\0').append(1, data.is_interlaced() ? '\1' : '\0');
    begin_.assign(kSignature, kPngSignatureBytes);
    append_chunk(begin_, "IHDR", header);
    if (data.header[9] == 3) append_chunk(begin_, "PLTE", full_palette(data));
    heads_.reserve(data.pieces.size());
    pieces_.push_back(begin_);
    for (size_t i = 0; i < data.pieces.size(); ++i) {
      std::string& head = heads_.emplace_back(i == 0 ? "" : std::string(4, '\0'));  // the checksum before
      append_length(head, data.pieces[i].size());
      head.append("IDAT");
      pieces_.insert(pieces_.end(), {head, data.pieces[i]});
    }
    end_.assign(4, '\0');
    if (!data.is_cut) append_chunk(end_, "IEND", "");
    pieces_.push_back(end_);
  }
  PngSource(const PngSource&) = delete;
  PngSource& operator=(const PngSource&) = delete;

  bool read(unsigned char* out, size_t size) {
    while (size > 0) {
      while (next_ < pieces_.size() && position_ == pieces_[next_].size()) ++next_, position_ = 0;
      if (next_ == pieces_.size()) return false;
      const std::string_view rest = pieces_[next_].substr(position_, size);
      std::memcpy(out, rest.data(), rest.size());
      out += rest.size();
      size -= rest.size();
      position_ += rest.size();
    }
    return true;
  }

 private:
  std::string begin_, end_;
  std::vector<std::string> heads_;
  std::vector<std::string_view> pieces_;
  size_t next_ = 0, position_ = 0;
};

// State for libpng's callbacks and longjmp; no member has a destructor that a jump could skip.
struct Reader {
  std::jmp_buf jump;
  PngSource* source;
  bool out_of_data;
  int rows_done;
  char message[128];
};

[[noreturn]] void on_error(png_structp png, png_const_charp message) {
  auto* reader = static_cast<Reader*>(png_get_error_ptr(png));
  std::strncpy(reader->message, message, sizeof reader->message - 1);
  std::longjmp(reader->jump, 1);
}
void on_warning(png_structp, png_const_charp) {}

void read(png_structp png, png_bytep out, png_size_t size) {
  auto* reader = static_cast<Reader*>(png_get_io_ptr(png));
  if (!reader->source->read(out, size)) {
    reader->out_of_data = true;
    png_error(png, "the file ends early");
  }
}

bool read_header(png_structp png, png_infop info, Reader& reader, bool keep_alpha) {
  if (setjmp(reader.jump)) return false;
  png_set_user_limits(png, 0x7FFFFFFF, 0x7FFFFFFF);  // the caller's cap counts pixels
  png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  png_set_read_fn(png, &reader, read);
  png_read_info(png, info);
  // To RGB as PIL: palette and grey are expanded, 16 bits keep the high byte, alpha is dropped.
  png_set_strip_16(png);
  png_set_packing(png);
  png_set_palette_to_rgb(png);
  png_set_expand_gray_1_2_4_to_8(png);
  if (keep_alpha) {
    png_set_tRNS_to_alpha(png);
    png_set_add_alpha(png, 0xFF, PNG_FILLER_AFTER);  // where there is none
  } else {
    png_set_strip_alpha(png);
  }
  png_set_gray_to_rgb(png);
  png_set_interlace_handling(png);
  png_read_update_info(png, info);
  return true;
}

bool read_rows(png_structp png, Reader& reader, png_bytepp rows, int height, bool interlaced) {
  if (setjmp(reader.jump)) return false;
  if (interlaced) {
    png_read_image(png, rows);
    reader.rows_done = height;
  } else {
    for (; reader.rows_done < height; ++reader.rows_done) png_read_row(png, rows[reader.rows_done], nullptr);
  }
  return true;
}

struct PngHandle {
  png_structp png = nullptr;
  png_infop info = nullptr;
  ~PngHandle() { png_destroy_read_struct(&png, &info, nullptr); }
};

}  // namespace

std::optional<ImageInfo> probe_png(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.size() < kPngHeaderBytes) return std::nullopt;
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  if (std::memcmp(data + 12, "IHDR", 4) != 0) fail(name, "a PNG that starts with IHDR", "another chunk");
  const uint32_t width = png_get_uint_32(data + 16), height = png_get_uint_32(data + 20);
  if (width > 0x7FFFFFFF || height > 0x7FFFFFFF) fail(name, "a PNG of at most 2^31 pixels a side", "more");
  return ImageInfo{ImageFormat::kPng, static_cast<int>(width), static_cast<int>(height)};
}

void decode_png(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options,
                DecodedImage& out) {
  const char* problem = nullptr;
  const PngPixelData data = find_png_pixel_data({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, problem);
  if (problem) fail(name, "a PNG that can be decoded", problem);
  // A second header would change the size that was checked.
  if (data.width() != static_cast<uint32_t>(out.source_width) ||
      data.height() != static_cast<uint32_t>(out.source_height)) {
    fail(name, "one size in the PNG's headers", std::to_string(data.width()) + " x " + std::to_string(data.height()));
  }
  PngSource source(data);
  Reader reader{};
  reader.source = &source;
  PngHandle handle;
  handle.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
  MILLRACE_CHECK(handle.png != nullptr);
  handle.info = png_create_info_struct(handle.png);
  MILLRACE_CHECK(handle.info != nullptr);
  if (!read_header(handle.png, handle.info, reader, options.keep_alpha))
    fail(name, "a PNG that can be decoded", reader.message);

  const size_t channels = options.keep_alpha ? 4 : 3;
  out.image.reshape(out.source_width, out.source_height, static_cast<int>(channels));
  const PngFrame& frame = data.frame;
  const auto height = static_cast<int>(frame.height);
  if (png_get_rowbytes(handle.png, handle.info) != channels * frame.width) {
    fail(name, options.keep_alpha ? "a PNG that becomes RGBA" : "a PNG that becomes RGB",
         std::to_string(png_get_channels(handle.png, handle.info)) + " channels");
  }
  std::vector<png_bytep> rows(frame.height);
  for (int y = 0; y < height; ++y) {
    rows[y] = out.image.row(y + static_cast<int>(frame.y)) + channels * frame.x;
  }
  const bool is_part = frame.width < data.width() || frame.height < data.height();
  if (data.is_interlaced() || is_part) std::fill(out.image.pixels.begin(), out.image.pixels.end(), uint8_t{0});
  if (read_rows(handle.png, reader, rows.data(), height, data.is_interlaced())) return;

  // Data that ends before the last row counts as truncated, whatever follows it in the file.
  const bool ends_early = reader.out_of_data || std::string_view(reader.message) == "Not enough image data";
  const bool usable = ends_early && (reader.rows_done > 0 || data.is_interlaced());
  if (!usable) fail(name, "a PNG that can be decoded", reader.message);
  if (!options.allow_truncated) fail(name, "a whole PNG", "one cut short");
  out.truncated = true;
  for (int y = reader.rows_done; y < height && !data.is_interlaced(); ++y) {
    std::fill_n(rows[y], channels * frame.width, uint8_t{0});
  }
}

}  // namespace millrace::codecs
