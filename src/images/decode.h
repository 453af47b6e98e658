// Decoding of JPEG, PNG and WebP into RGB, told apart by content, never by file name.
//
// The pixels are those of PIL's Image.open(...).convert("RGB"): alpha and PNG transparency are dropped, not composited;
// grey is replicated; 16 bits per channel keep their high byte; CMYK JPEGs are read as Adobe's inverted CMYK; EXIF
// orientation is ignored. All input is untrusted: sizes are checked against the cap before anything is allocated.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "images/image.h"

namespace millrace {

enum class ImageFormat { kJpeg, kPng, kWebp };
const char* image_format_name(ImageFormat format);

struct ImageInfo {
  ImageFormat format;
  int width;
  int height;
};

// PIL's limit in the reference recipe; a memory cap may be lower, never higher.
constexpr uint64_t kMaxImagePixels = 933120000;

struct DecodeOptions {
  // Pictures above this many pixels are refused from their header alone. 256 Mpx are 0.8 GB of RGB.
  uint64_t max_pixels = uint64_t{256} << 20;
  // Truncated pictures are filled with grey (JPEG) or black (PNG) below the cut, as with PIL's LOAD_TRUNCATED_IMAGES.
  bool allow_truncated = true;
  // > 0: a JPEG may be decoded at 1/2, 1/4 or 1/8 size, as long as its shorter side stays at least this. 0: full size.
  int min_short_side = 0;
  // A CMYK JPEG is left as CMYK (PIL's, 255 is full ink), for callers that scale it before they convert it, as PIL
  // does.
  bool keep_cmyk = false;
  // A PNG or WebP is decoded to RGBA, opaque where it has no alpha; a JPEG stays RGB.
  bool keep_alpha = false;
};

struct DecodedImage {
  Image image;  // RGB, or CMYK or RGBA in 4 channels
  int source_width = 0;
  int source_height = 0;
  bool truncated = false;
};

// Format and size from the first bytes of a file. nullopt: more bytes are needed to tell (never for a whole file).
// Throws DataError naming `name` when it is none of the three formats or its header is damaged.
// whole: bytes is the complete file.
std::optional<ImageInfo> probe_image(std::span<const std::byte> bytes, const std::string& name, bool whole = true);

// Throws DataError when a picture of this size is above the cap.
void check_pixel_count(const ImageInfo& info, const std::string& name, const DecodeOptions& options);

// PIL's convert("RGB") of a CMYK picture.
Image cmyk_to_rgb(const Image& cmyk);

// Throws DataError naming `name`.
DecodedImage decode_image(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options = {});
// The same, reusing a picture's allocation.
void decode_image_into(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options,
                       DecodedImage& out);

}  // namespace millrace
