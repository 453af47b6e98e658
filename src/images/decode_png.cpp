#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "images/codecs.h"

namespace millrace::codecs {
namespace {

constexpr size_t kHeaderBytes = 8 + 4 + 4 + 13;         // signature, length, "IHDR", the chunk
constexpr png_alloc_size_t kMaxChunkBytes = 16u << 20;  // palette, profile and texts; picture data is not counted

// What libpng's callbacks and longjmp need; nothing in it has a destructor that a jump could skip.
struct Reader {
  std::jmp_buf jump;
  const unsigned char* data;
  size_t size;
  size_t position;
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
  if (size > reader->size - reader->position) {
    reader->out_of_data = true;
    png_error(png, "the file ends early");
  }
  std::memcpy(out, reader->data + reader->position, size);
  reader->position += size;
}

bool read_header(png_structp png, png_infop info, Reader& reader) {
  if (setjmp(reader.jump)) return false;
  png_set_user_limits(png, 0x7FFFFFFF, 0x7FFFFFFF);  // the caller's cap counts pixels
  png_set_chunk_malloc_max(png, kMaxChunkBytes);
  png_set_chunk_cache_max(png, 64);
  png_set_read_fn(png, &reader, read);
  png_read_info(png, info);
  // To RGB as PIL: palette and grey are expanded, 16 bits keep the high byte, alpha is dropped.
  png_set_strip_16(png);
  png_set_packing(png);
  png_set_palette_to_rgb(png);
  png_set_expand_gray_1_2_4_to_8(png);
  png_set_strip_alpha(png);
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

// libpng asks for a chunk's data in pieces of kilobytes and gets nothing from a chunk that the file ends in. Where that
// is picture data, a copy whose last chunk is as long as the file lets it have the rows that are there. Empty: not
// needed.
std::vector<unsigned char> shorten_last_chunk(const unsigned char* data, size_t size) {
  size_t at = 8;
  while (at + 8 <= size) {
    const uint64_t length = png_get_uint_32(data + at);
    if (at + 12 + length <= size) {
      at += 12 + length;
      continue;
    }
    if (std::memcmp(data + at + 4, "IDAT", 4) != 0) return {};
    const auto rest = static_cast<uint32_t>(std::min<uint64_t>(length, size - at - 8));
    std::vector<unsigned char> copy(data, data + at + 8 + rest);
    png_save_uint_32(copy.data() + at, rest);
    copy.resize(copy.size() + 4);  // a checksum, which is not looked at
    return copy;
  }
  return {};
}

struct PngHandle {
  png_structp png = nullptr;
  png_infop info = nullptr;
  ~PngHandle() { png_destroy_read_struct(&png, &info, nullptr); }
};

}  // namespace

std::optional<ImageInfo> probe_png(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.size() < kHeaderBytes) return std::nullopt;
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  if (std::memcmp(data + 12, "IHDR", 4) != 0) fail(name, "a PNG that starts with IHDR", "another chunk");
  const uint32_t width = png_get_uint_32(data + 16), height = png_get_uint_32(data + 20);
  if (width > 0x7FFFFFFF || height > 0x7FFFFFFF) fail(name, "a PNG of at most 2^31 pixels a side", "more");
  return ImageInfo{ImageFormat::kPng, static_cast<int>(width), static_cast<int>(height)};
}

void decode_png(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options,
                DecodedImage& out) {
  Reader reader{};
  reader.data = reinterpret_cast<const unsigned char*>(bytes.data());
  reader.size = bytes.size();
  const std::vector<unsigned char> shortened = shorten_last_chunk(reader.data, reader.size);
  if (!shortened.empty()) {
    reader.data = shortened.data();
    reader.size = shortened.size();
  }
  PngHandle handle;
  handle.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &reader, on_error, on_warning);
  MILLRACE_CHECK(handle.png != nullptr);
  handle.info = png_create_info_struct(handle.png);
  MILLRACE_CHECK(handle.info != nullptr);
  if (!shortened.empty()) png_set_crc_action(handle.png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
  if (!read_header(handle.png, handle.info, reader)) fail(name, "a PNG that can be decoded", reader.message);

  out.image.reshape(out.source_width, out.source_height, 3);
  if (png_get_rowbytes(handle.png, handle.info) != out.image.row_bytes()) {
    fail(name, "a PNG that becomes RGB", std::to_string(png_get_channels(handle.png, handle.info)) + " channels");
  }
  std::vector<png_bytep> rows(out.source_height);
  for (int y = 0; y < out.source_height; ++y) rows[y] = out.image.row(y);
  const bool interlaced = png_get_interlace_type(handle.png, handle.info) != PNG_INTERLACE_NONE;
  if (interlaced) std::fill(out.image.pixels.begin(), out.image.pixels.end(), uint8_t{0});
  if (read_rows(handle.png, reader, rows.data(), out.source_height, interlaced)) return;

  const bool usable = reader.out_of_data && (reader.rows_done > 0 || interlaced);
  if (!usable) fail(name, "a PNG that can be decoded", reader.message);
  if (!options.allow_truncated) fail(name, "a whole PNG", "one cut short");
  out.truncated = true;
  if (!interlaced) {
    std::fill(out.image.pixels.begin() + static_cast<std::ptrdiff_t>(reader.rows_done * out.image.row_bytes()),
              out.image.pixels.end(), uint8_t{0});
  }
}

}  // namespace millrace::codecs
