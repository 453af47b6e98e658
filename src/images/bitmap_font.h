// Five by seven pixel letters, for captions under pictures; no font file is needed at run time.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "images/image.h"

namespace millrace {

constexpr int kGlyphWidth = 6;   // five columns and a gap
constexpr int kGlyphHeight = 9;  // seven rows, one for descenders, and a gap

// Draws printable ASCII in grey level `ink` with its upper left corner at (x, y), clipped at the picture's edges; other
// characters become '?'.
void draw_text(Image& image, int x, int y, std::string_view text, uint8_t ink = 0, int scale = 1);

// Breaks text at blanks into lines of at most max_characters; line max_lines ends in ".." if text is left over.
std::vector<std::string> wrap_text(std::string_view text, int max_characters, int max_lines);

}  // namespace millrace
