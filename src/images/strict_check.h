// Whether PIL would decode a picture in its strict mode (LOAD_TRUNCATED_IMAGES off), which the reference's
// find_problematic_indices.py checks for every sample.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace millrace {

// PIL's limit on pixels, above which it throws: twice Image.MAX_IMAGE_PIXELS.
constexpr uint64_t kMaxDefaultPixels = 178956970;

// Decodes the whole picture and keeps nothing. Empty when it is sound; otherwise the problem, for a message. As in PIL,
// JPEGs with damage that libjpeg only warns about are sound, and so are PNGs where only the checksum of the picture
// data is wrong. Truncated files are not sound, nor are files whose other data PIL refuses, nor anything that is not a
// JPEG, PNG or WebP. Never throws because of the file's content.
std::string find_picture_problem(std::span<const std::byte> file, const std::string& name);

}  // namespace millrace
