// How a camera was held: the EXIF (or XMP) orientation of a JPEG or PNG, and turning a picture upright.
//
// The training pipeline ignores it, as PIL's Image.open does; Hugging Face `datasets` turns every picture it decodes,
// and so does what is built from it.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "images/image.h"

namespace millrace {

// 1 to 8 as in EXIF, or 1 where there is none; read as PIL's Image.getexif() reads it. problem: set when EXIF data is
// there but no TIFF structure, which PIL refuses.
int read_orientation(std::span<const std::byte> file, std::string* problem = nullptr);

// PIL's ImageOps.exif_transpose for this orientation.
Image turn_upright(const Image& image, int orientation);

}  // namespace millrace
