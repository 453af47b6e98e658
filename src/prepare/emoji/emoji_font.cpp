#include "prepare/emoji/emoji_font.h"

#include <ft2build.h>
#include FT_FREETYPE_H

#include "base/error.h"

namespace millrace {

struct EmojiFont::Face {
  FT_Library library = nullptr;
  FT_Face face = nullptr;
  ~Face() {
    if (face) FT_Done_Face(face);
    if (library) FT_Done_FreeType(library);
  }
};

EmojiFont::EmojiFont(const std::filesystem::path& path) : face_(std::make_unique<Face>()) {
  const std::string place = "[" + path.string() + "] ";
  if (!std::filesystem::exists(path)) {
    throw DataError(place + "expected the Noto Color Emoji font, got no such file " +
                    "(try: apt-get install fonts-noto-color-emoji, or name a font with --font)");
  }
  MILLRACE_CHECK(FT_Init_FreeType(&face_->library) == 0);
  if (FT_New_Face(face_->library, path.c_str(), 0, &face_->face) != 0) {
    throw DataError(place + "expected a font, got a file that FreeType cannot read");
  }
  if (!FT_HAS_COLOR(face_->face) || face_->face->num_fixed_sizes < 1 || FT_Select_Size(face_->face, 0) != 0) {
    throw DataError(place + "expected a font with colour bitmaps (CBDT), got none (try NotoColorEmoji.ttf)");
  }
}

EmojiFont::~EmojiFont() = default;

std::vector<char32_t> EmojiFont::code_points() const {
  std::vector<char32_t> result;
  FT_UInt glyph = 0;
  for (FT_ULong code = FT_Get_First_Char(face_->face, &glyph); glyph != 0;
       code = FT_Get_Next_Char(face_->face, code, &glyph)) {
    result.push_back(static_cast<char32_t>(code));
  }
  return result;
}

std::optional<Image> EmojiFont::draw(char32_t code_point, std::array<uint8_t, 3> background) const {
  const FT_UInt glyph = FT_Get_Char_Index(face_->face, code_point);
  if (glyph == 0 || FT_Load_Glyph(face_->face, glyph, FT_LOAD_COLOR) != 0) return std::nullopt;
  const FT_Bitmap& bitmap = face_->face->glyph->bitmap;
  if (bitmap.pixel_mode != FT_PIXEL_MODE_BGRA || bitmap.width == 0 || bitmap.rows == 0) return std::nullopt;
  Image image;
  image.reshape(static_cast<int>(bitmap.width), static_cast<int>(bitmap.rows), 3);
  for (int y = 0; y < image.height; ++y) {
    const unsigned char* in = bitmap.buffer + static_cast<std::ptrdiff_t>(y) * bitmap.pitch;
    uint8_t* out = image.row(y);
    for (int x = 0; x < image.width; ++x, in += 4, out += 3) {
      const int transparency = 255 - in[3];  // colours come multiplied by alpha, in the order blue, green, red
      for (int c = 0; c < 3; ++c) {
        out[c] = static_cast<uint8_t>(std::min(255, in[2 - c] + (background[c] * transparency + 127) / 255));
      }
    }
  }
  return image;
}

}  // namespace millrace
