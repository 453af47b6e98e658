// One decoder per format, behind decode.h. Each is called with a checked ImageInfo and throws DataError.
#pragma once

#include <span>
#include <string>

#include "images/decode.h"

namespace millrace::codecs {

// Reads up to the frame header. nullopt: bytes end before that.
std::optional<ImageInfo> probe_jpeg(std::span<const std::byte> bytes, const std::string& name);
std::optional<ImageInfo> probe_png(std::span<const std::byte> bytes, const std::string& name);
std::optional<ImageInfo> probe_webp(std::span<const std::byte> bytes, const std::string& name);

void decode_jpeg(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options,
                 DecodedImage& out);
void decode_png(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options,
                DecodedImage& out);
void decode_webp(std::span<const std::byte> bytes, const std::string& name, const DecodeOptions& options,
                 DecodedImage& out);

[[noreturn]] void fail(const std::string& name, const std::string& expected, const std::string& got);

}  // namespace millrace::codecs
