#include "images/encode.h"

#include <png.h>
#include <turbojpeg.h>

#include <csetjmp>
#include <memory>

#include "base/error.h"

namespace millrace {
namespace {

struct PngError {
  std::jmp_buf jump;
  std::string message;
};

[[noreturn]] void on_png_error(png_structp png, png_const_charp message) {
  auto* error = static_cast<PngError*>(png_get_error_ptr(png));
  error->message = message;
  std::longjmp(error->jump, 1);
}
void on_png_warning(png_structp, png_const_charp) {}
void append(png_structp png, png_bytep data, png_size_t size) {
  static_cast<std::string*>(png_get_io_ptr(png))->append(reinterpret_cast<const char*>(data), size);
}
void no_flush(png_structp) {}

// Everything with a destructor lives in the caller: longjmp may cross this frame.
bool write_png(png_structp png, png_infop info, PngError& error, const Image& image, std::vector<png_text>& texts,
               std::string& exif, int level, std::vector<png_bytep>& rows) {
  if (setjmp(error.jump)) return false;
  png_set_compression_level(png, level);
  png_set_IHDR(png, info, image.width, image.height, 8,
               image.channels == 4 ? PNG_COLOR_TYPE_RGB_ALPHA : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
               PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
  if (!texts.empty()) png_set_text(png, info, texts.data(), static_cast<int>(texts.size()));
  if (!exif.empty()) {
    png_set_eXIf_1(png, info, static_cast<png_uint_32>(exif.size()), reinterpret_cast<png_bytep>(exif.data()));
  }
  png_write_info(png, info);
  png_write_image(png, rows.data());
  png_write_end(png, nullptr);
  return true;
}

void check_channels(const Image& image) {
  MILLRACE_CHECK(image.channels == 3 || image.channels == 4);
  MILLRACE_CHECK(image.width > 0 && image.height > 0);
  MILLRACE_CHECK(image.pixels.size() == image.row_bytes() * image.height);
}

}  // namespace

std::string encode_png(const Image& image, const PngText& texts, const ExifTags& exif, int level) {
  check_channels(image);
  std::string content;
  PngError error;
  png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, &error, on_png_error, on_png_warning);
  MILLRACE_CHECK(png != nullptr);
  png_infop info = png_create_info_struct(png);
  png_set_write_fn(png, &content, append, no_flush);
  std::vector<png_bytep> rows(image.height);
  for (int y = 0; y < image.height; ++y) rows[y] = const_cast<png_bytep>(image.row(y));
  std::vector<std::string> keys, values;  // libpng wants non-const pointers
  for (const auto& [key, value] : texts) {
    keys.push_back(key);
    values.push_back(value);
  }
  std::vector<png_text> chunks(texts.size());
  char no_language[1] = {0};
  for (size_t i = 0; i < texts.size(); ++i) {
    chunks[i].compression = PNG_ITXT_COMPRESSION_NONE;
    chunks[i].key = keys[i].data();
    chunks[i].text = values[i].data();
    chunks[i].itxt_length = values[i].size();
    chunks[i].lang = no_language;
    chunks[i].lang_key = no_language;
  }
  std::string block = exif_block(exif);
  const bool written = write_png(png, info, error, image, chunks, block, level, rows);
  png_destroy_write_struct(&png, &info);
  if (!written) throw DataError("[PNG encoder] expected a picture that can be written, got: " + error.message);
  return content;
}

std::string encode_jpeg(const Image& image, int quality, bool full_chroma) {
  check_channels(image);
  MILLRACE_CHECK(quality >= 1 && quality <= 100);
  const std::unique_ptr<void, int (*)(tjhandle)> encoder(tjInitCompress(), tjDestroy);
  MILLRACE_CHECK(encoder != nullptr);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  const int failed = tjCompress2(encoder.get(), image.pixels.data(), image.width, 0, image.height,
                                 image.channels == 4 ? TJPF_RGBX : TJPF_RGB, &buffer, &size,
                                 full_chroma ? TJSAMP_444 : TJSAMP_420, quality, TJFLAG_ACCURATEDCT);
  const std::unique_ptr<unsigned char, void (*)(unsigned char*)> owner(buffer, tjFree);
  if (failed) {
    throw DataError(std::string("[JPEG encoder] expected a picture that can be written, got: ") +
                    tjGetErrorStr2(encoder.get()));
  }
  return std::string(reinterpret_cast<const char*>(buffer), size);
}

}  // namespace millrace
