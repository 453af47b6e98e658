#include "images/decode.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "images/codecs.h"

namespace millrace {
namespace {

// How much of a file reveals its format.
constexpr size_t kSignatureBytes = 12;

std::optional<ImageFormat> format_of(std::span<const std::byte> bytes) {
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  if (bytes.size() >= 3 && data[0] == 0xFF && data[1] == 0xD8 && data[2] == 0xFF) return ImageFormat::kJpeg;
  if (bytes.size() >= 8 && std::memcmp(data, "\x89PNG\r\n\x1A\n", 8) == 0) return ImageFormat::kPng;
  if (bytes.size() >= kSignatureBytes && std::memcmp(data, "RIFF", 4) == 0 && std::memcmp(data + 8, "WEBP", 4) == 0) {
    return ImageFormat::kWebp;
  }
  return std::nullopt;
}

}  // namespace

const char* image_format_name(ImageFormat format) {
  switch (format) {
    case ImageFormat::kJpeg:
      return "JPEG";
    case ImageFormat::kPng:
      return "PNG";
    case ImageFormat::kWebp:
      return "WebP";
  }
  return "?";
}

void codecs::fail(const std::string& name, const std::string& expected, const std::string& got) {
  throw DataError("[" + name + "] expected " + expected + ", got " + got);
}

// Pillow's cmyk2rgb (src/libImaging/Convert.c).
Image cmyk_to_rgb(const Image& cmyk) {
  MILLRACE_CHECK(cmyk.channels == 4);
  const auto multiply = [](int a, int b) {  // Pillow's MULDIV255
    const int t = a * b + 128;
    return ((t >> 8) + t) >> 8;
  };
  Image rgb;
  rgb.reshape(cmyk.width, cmyk.height, 3);
  for (size_t i = 0; i < cmyk.pixels.size() / 4; ++i) {
    const uint8_t* in = cmyk.pixels.data() + 4 * i;
    const int white = 255 - in[3];
    for (size_t c = 0; c < 3; ++c) {
      rgb.pixels[3 * i + c] = static_cast<uint8_t>(std::clamp(white - multiply(in[c], white), 0, 255));
    }
  }
  return rgb;
}

std::optional<ImageInfo> probe_image(std::span<const std::byte> bytes, const std::string& name, bool whole) {
  const std::optional<ImageFormat> format = format_of(bytes);
  if (!format) {
    if (!whole && bytes.size() < kSignatureBytes) return std::nullopt;
    codecs::fail(name, "a JPEG, PNG or WebP picture", bytes.empty() ? "an empty file" : "other content");
  }
  std::optional<ImageInfo> info;
  switch (*format) {
    case ImageFormat::kJpeg:
      info = codecs::probe_jpeg(bytes, name);
      break;
    case ImageFormat::kPng:
      info = codecs::probe_png(bytes, name);
      break;
    case ImageFormat::kWebp:
      info = codecs::probe_webp(bytes, name);
      break;
  }
  if (!info) {
    if (!whole) return std::nullopt;
    codecs::fail(name, std::string("a ") + image_format_name(*format) + " header", "a file that ends before it");
  }
  if (info->width <= 0 || info->height <= 0) {
    codecs::fail(name, "a picture", std::to_string(info->width) + " x " + std::to_string(info->height) + " pixels");
  }
  return info;
}

void check_pixel_count(const ImageInfo& info, const std::string& name, const DecodeOptions& options) {
  const uint64_t pixels = static_cast<uint64_t>(info.width) * static_cast<uint64_t>(info.height);
  const uint64_t cap = std::min(options.max_pixels, kMaxImagePixels);
  if (pixels > cap) {
    codecs::fail(name, "at most " + std::to_string(cap) + " pixels",
                 std::to_string(info.width) + " x " + std::to_string(info.height));
  }
}

void decode_image_into(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options,
                       DecodedImage& out) {
  const ImageInfo info = *probe_image(bytes, name);
  check_pixel_count(info, name, options);
  out.source_width = info.width;
  out.source_height = info.height;
  out.truncated = false;
  switch (info.format) {
    case ImageFormat::kJpeg:
      return codecs::decode_jpeg(bytes, name, options, out);
    case ImageFormat::kPng:
      return codecs::decode_png(bytes, name, options, out);
    case ImageFormat::kWebp:
      return codecs::decode_webp(bytes, name, options, out);
  }
}

DecodedImage decode_image(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options) {
  DecodedImage out;
  decode_image_into(bytes, name, options, out);
  return out;
}

}  // namespace millrace
