#include <turbojpeg.h>

#include <algorithm>

#include "base/error.h"
#include "images/codecs.h"

namespace millrace::codecs {
namespace {

// A new one for each picture: a decoder keeps the Huffman and quantisation tables of the picture before, and one that
// lacks its own would look different in another order. Making one takes less than a microsecond.
class Decoder {
 public:
  Decoder() : handle_(tjInitDecompress()) { MILLRACE_CHECK(handle_ != nullptr); }
  ~Decoder() { tjDestroy(handle_); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  operator tjhandle() const { return handle_; }

 private:
  tjhandle handle_;
};

// libjpeg-turbo has vector code for these only; other eighths are slower than the full size.
constexpr tjscalingfactor kScales[] = {{1, 8}, {1, 4}, {1, 2}};

tjscalingfactor choose_scale(int width, int height, int min_short_side) {
  if (min_short_side > 0) {
    for (const tjscalingfactor scale : kScales) {
      if (TJSCALED(std::min(width, height), scale) >= min_short_side) return scale;
    }
  }
  return {1, 1};
}

// Pillow's cmyk2rgb after inverting, as Adobe's programs store CMYK.
void inverted_cmyk_to_rgb(const Image& cmyk, Image& rgb) {
  const auto multiply = [](int a, int b) {  // Pillow's MULDIV255
    const int t = a * b + 128;
    return ((t >> 8) + t) >> 8;
  };
  const size_t pixels = cmyk.pixels.size() / 4;
  for (size_t i = 0; i < pixels; ++i) {
    const uint8_t* in = cmyk.pixels.data() + 4 * i;
    for (int c = 0; c < 3; ++c) {
      rgb.pixels[3 * i + c] = static_cast<uint8_t>(std::clamp(in[3] - multiply(255 - in[c], in[3]), 0, 255));
    }
  }
}

}  // namespace

// Walks the markers to the frame header (ITU-T T.81, annex B).
std::optional<ImageInfo> probe_jpeg(std::span<const std::byte> bytes, const std::string& name) {
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  size_t at = 2;
  while (true) {
    while (at < bytes.size() && data[at] != 0xFF) ++at;  // garbage between segments, as libjpeg skips it
    while (at < bytes.size() && data[at] == 0xFF) ++at;  // fill bytes
    if (at >= bytes.size()) return std::nullopt;
    const unsigned marker = data[at++];
    if (marker == 0x00 || marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) continue;  // no length
    if (marker == 0xD9 || marker == 0xDA) fail(name, "a JPEG frame header", "picture data without one");
    if (at + 2 > bytes.size()) return std::nullopt;
    const size_t length = data[at] << 8 | data[at + 1];
    if (length < 2) fail(name, "a JPEG segment", "a length of " + std::to_string(length));
    const bool frame = marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC;
    if (frame) {
      if (at + 8 > bytes.size()) return std::nullopt;
      if (data[at + 2] != 8) fail(name, "a JPEG with 8 bits", std::to_string(data[at + 2]) + " bits");
      const int components = data[at + 7];
      if (components != 1 && components != 3 && components != 4) {
        fail(name, "a JPEG with 1, 3 or 4 components", std::to_string(components));
      }
      return ImageInfo{ImageFormat::kJpeg, data[at + 5] << 8 | data[at + 6], data[at + 3] << 8 | data[at + 4]};
    }
    at += length;
  }
}

void decode_jpeg(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options,
                 DecodedImage& out) {
  const auto* data = reinterpret_cast<const unsigned char*>(bytes.data());
  const Decoder decoder;
  int width = 0, height = 0, subsampling = -1, colorspace = -1;
  const int failed = tjDecompressHeader3(decoder, data, bytes.size(), &width, &height, &subsampling, &colorspace);
  // It also fails for chroma subsampling that has no TurboJPEG name, which libjpeg decodes all the same.
  if (failed && (colorspace < 0 || width < 1 || height < 1)) {
    fail(name, "a JPEG that can be decoded", tjGetErrorStr2(decoder));
  }
  // The two readers of the header must agree, or the cap was checked against the wrong size.
  if (width != out.source_width || height != out.source_height) {
    fail(name, "one size in the JPEG header", std::to_string(width) + " x " + std::to_string(height));
  }
  const tjscalingfactor scale = choose_scale(width, height, options.min_short_side);
  const int scaled_width = TJSCALED(width, scale), scaled_height = TJSCALED(height, scale);
  const bool cmyk = colorspace == TJCS_CMYK || colorspace == TJCS_YCCK;
  Image four;
  Image& target = cmyk ? four : out.image;
  out.image.reshape(scaled_width, scaled_height, 3);
  if (cmyk) four.reshape(scaled_width, scaled_height, 4);
  // TJFLAG_LIMITSCANS: a progressive picture with thousands of scans is an attack on the clock.
  if (tjDecompress2(decoder, data, bytes.size(), target.pixels.data(), scaled_width, 0, scaled_height,
                    cmyk ? TJPF_CMYK : TJPF_RGB, TJFLAG_LIMITSCANS) != 0) {
    const std::string message = tjGetErrorStr2(decoder);
    if (tjGetErrorCode(decoder) != TJERR_WARNING) fail(name, "a JPEG that can be decoded", message);
    out.truncated = message.find("remature end") != std::string::npos;
    if (out.truncated && !options.allow_truncated) fail(name, "a whole JPEG", "one cut short");
  }
  if (cmyk) inverted_cmyk_to_rgb(four, out.image);
}

}  // namespace millrace::codecs
