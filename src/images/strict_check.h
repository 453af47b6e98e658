// Whether PIL would decode a picture with its own strictness (LOAD_TRUNCATED_IMAGES off): what the reference's
// find_problematic_indices.py asks of every sample.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace millrace {

// PIL's own limit on pixels, above which it throws: twice Image.MAX_IMAGE_PIXELS.
constexpr uint64_t kMaxDefaultPixels = 178956970;

// Decodes the whole picture and keeps nothing. Empty when it is sound; otherwise what is wrong, for a message. JPEGs
// with damage that libjpeg only warns of are sound, as in PIL, and so are PNGs with a wrong checksum of the picture
// data alone; a JPEG, PNG or WebP cut short is not, nor one with data beside the pixels that PIL refuses, and nor is
// anything else that is no JPEG, PNG or WebP. Never throws for what is in the file.
std::string find_picture_problem(std::span<const std::byte> file, const std::string& name);

}  // namespace millrace
