#include <webp/decode.h>

#include "images/codecs.h"

namespace millrace::codecs {
namespace {

const char* status_text(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "one cut short";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "a feature that is not supported (an animation?)";
    case VP8_STATUS_OUT_OF_MEMORY:
      return "one that needs more memory than there is";
    default:
      return "damaged data";
  }
}

}  // namespace

std::optional<ImageInfo> probe_webp(std::span<const std::byte> bytes, const std::string& name) {
  WebPBitstreamFeatures features;
  const VP8StatusCode status = WebPGetFeatures(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), &features);
  if (status == VP8_STATUS_NOT_ENOUGH_DATA) return std::nullopt;
  if (status != VP8_STATUS_OK) fail(name, "a WebP header", status_text(status));
  if (features.has_animation) fail(name, "a single WebP picture", "an animation");
  return ImageInfo{ImageFormat::kWebp, features.width, features.height};
}

void decode_webp(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions&, DecodedImage& out) {
  out.image.reshape(out.source_width, out.source_height, 3);
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) fail(name, "a WebP library of the version built against", "another");
  config.output.colorspace = MODE_RGB;  // alpha is dropped, not composited
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba = out.image.pixels.data();
  config.output.u.RGBA.stride = static_cast<int>(out.image.row_bytes());
  config.output.u.RGBA.size = out.image.pixels.size();
  const VP8StatusCode status = WebPDecode(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), &config);
  WebPFreeDecBuffer(&config.output);
  if (status != VP8_STATUS_OK) fail(name, "a WebP that can be decoded", status_text(status));
}

}  // namespace millrace::codecs
