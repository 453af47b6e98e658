#include <webp/decode.h>

#include <algorithm>
#include <string>

#include "images/codecs.h"
#include "images/webp_container.h"

namespace millrace::codecs {
namespace {

const char* status_text(VP8StatusCode status) {
  switch (status) {
    case VP8_STATUS_NOT_ENOUGH_DATA:
      return "one cut short";
    case VP8_STATUS_UNSUPPORTED_FEATURE:
      return "a feature that is not supported";
    case VP8_STATUS_OUT_OF_MEMORY:
      return "one that needs more memory than there is";
    default:
      return "damaged data";
  }
}

class FirstFrame {
 public:
  explicit FirstFrame(const WebPDemuxer* demuxer) : is_there_(WebPDemuxGetFrame(demuxer, 1, &frame_) != 0) {}
  ~FirstFrame() {
    if (is_there_) WebPDemuxReleaseIterator(&frame_);
  }
  FirstFrame(const FirstFrame&) = delete;
  FirstFrame& operator=(const FirstFrame&) = delete;
  explicit operator bool() const { return is_there_; }
  const WebPIterator& get() const { return frame_; }

 private:
  WebPIterator frame_ = {};
  bool is_there_;
};

}  // namespace

std::optional<ImageInfo> probe_webp(std::span<const std::byte> bytes, const std::string& name) {
  WebPBitstreamFeatures features;
  const VP8StatusCode status = WebPGetFeatures(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), &features);
  if (status == VP8_STATUS_NOT_ENOUGH_DATA) return std::nullopt;
  if (status != VP8_STATUS_OK) fail(name, "a WebP header", status_text(status));
  return ImageInfo{ImageFormat::kWebp, features.width, features.height};
}

// Like libwebp's animation decoder, which PIL uses for every picture: the first frame on a black canvas.
void decode_webp(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options,
                 DecodedImage& out) {
  const auto demuxer = open_webp({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  if (!demuxer) fail(name, "a whole WebP", "one that is damaged or cut short");
  const uint32_t width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH);
  const uint32_t height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT);
  // The two readers of the header must agree, or the cap was checked against the wrong size.
  if (width != static_cast<uint32_t>(out.source_width) || height != static_cast<uint32_t>(out.source_height)) {
    fail(name, "one size in the WebP's headers", std::to_string(width) + " x " + std::to_string(height));
  }
  const FirstFrame first(demuxer.get());
  if (!first) fail(name, "a WebP that can be decoded", "one without a frame");
  const WebPIterator& frame = first.get();
  const bool is_inside = frame.x_offset >= 0 && frame.y_offset >= 0 && frame.width > 0 && frame.height > 0 &&
                         frame.width <= out.source_width - frame.x_offset &&
                         frame.height <= out.source_height - frame.y_offset;
  if (!is_inside) fail(name, "a WebP that can be decoded", "a frame that is not in the picture");

  const int channels = options.keep_alpha ? 4 : 3;
  out.image.reshape(out.source_width, out.source_height, channels);
  if (frame.width < out.source_width || frame.height < out.source_height) {
    std::fill(out.image.pixels.begin(), out.image.pixels.end(), uint8_t{0});
  }
  WebPDecoderConfig config;
  if (!WebPInitDecoderConfig(&config)) fail(name, "a WebP library of the version built against", "another");
  config.output.colorspace = options.keep_alpha ? MODE_RGBA : MODE_RGB;  // alpha is dropped, not composited
  config.output.is_external_memory = 1;
  config.output.u.RGBA.rgba =
      out.image.row(frame.y_offset) + static_cast<size_t>(channels) * static_cast<size_t>(frame.x_offset);
  config.output.u.RGBA.stride = static_cast<int>(out.image.row_bytes());
  config.output.u.RGBA.size =
      out.image.row_bytes() * static_cast<size_t>(frame.height - 1) + static_cast<size_t>(channels * frame.width);
  const VP8StatusCode status = WebPDecode(frame.fragment.bytes, frame.fragment.size, &config);
  WebPFreeDecBuffer(&config.output);
  if (status != VP8_STATUS_OK) fail(name, "a WebP that can be decoded", status_text(status));
}

}  // namespace millrace::codecs
