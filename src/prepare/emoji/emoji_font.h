// The colour pictures of a bitmap emoji font (Noto Color Emoji: PNGs of 136 x 128 in the CBDT table), by FreeType.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "images/image.h"

namespace millrace {

class EmojiFont {
 public:
  // Throws DataError when path is missing or has no colour bitmaps.
  explicit EmojiFont(const std::filesystem::path& path);
  ~EmojiFont();

  // Every code point the font maps to a glyph, ascending.
  std::vector<char32_t> code_points() const;
  // The picture over an opaque background, at the font's size. nullopt: no colour picture for this code point.
  std::optional<Image> draw(char32_t code_point, std::array<uint8_t, 3> background) const;

 private:
  struct Face;
  std::unique_ptr<Face> face_;
};

}  // namespace millrace
