#include <turbojpeg.h>

#include <algorithm>

#include "base/error.h"
#include "images/codecs.h"

namespace millrace::codecs {
namespace {

// A new one for each picture: a decoder keeps the Huffman and quantisation tables of the previous picture, so that a
// picture without its own would depend on the order. Making one takes less than a microsecond.
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
    // It counts its own two bytes; less means no content, as in libjpeg.
    const size_t length = std::max(data[at] << 8 | data[at + 1], 2);
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
  // It also fails for chroma subsampling without a TurboJPEG name, which libjpeg still decodes.
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
  Image& target = out.image;
  target.reshape(scaled_width, scaled_height, cmyk ? 4 : 3);
  // TJFLAG_LIMITSCANS: a progressive picture with thousands of scans is an attack on the clock.
  if (tjDecompress2(decoder, data, bytes.size(), target.pixels.data(), scaled_width, 0, scaled_height,
                    cmyk ? TJPF_CMYK : TJPF_RGB, TJFLAG_LIMITSCANS) != 0) {
    const std::string message = tjGetErrorStr2(decoder);
    if (tjGetErrorCode(decoder) != TJERR_WARNING) fail(name, "a JPEG that can be decoded", message);
    out.truncated = message.find("remature end") != std::string::npos;
    if (out.truncated && !options.allow_truncated) fail(name, "a whole JPEG", "one cut short");
  }
  if (!cmyk) return;
  for (uint8_t& ink : target.pixels) ink = static_cast<uint8_t>(255 - ink);  // Adobe's programs store it inverted
  if (!options.keep_cmyk) out.image = cmyk_to_rgb(target);
}

}  // namespace millrace::codecs
