#include "prepare/emoji/emoji_style.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"

namespace millrace {
namespace {

constexpr std::array<uint8_t, 3> kDark = {28, 20, 100}, kLight = {255, 209, 102};
constexpr std::array<uint8_t, 3> kLine = {20, 20, 20};
constexpr double kFaintEdge = 40, kFullEdge = 160;  // of the gradient of a channel, per two pixels

// Rec. 601, 0 to 255.
double brightness(const uint8_t* rgb) {
  return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
}

uint8_t mixed(uint8_t from, uint8_t to, double part) {
  return static_cast<uint8_t>(std::lround(from + (to - from) * part));
}

Image duotone(const Image& picture) {
  Image result = picture;
  for (size_t i = 0; i < result.pixels.size(); i += 3) {
    const double part = brightness(&picture.pixels[i]) / 255;
    for (size_t c = 0; c < 3; ++c) result.pixels[i + c] = mixed(kDark[c], kLight[c], part);
  }
  return result;
}

// The largest central difference of any channel, in either direction.
double edge_at(const Image& picture, int x, int y) {
  const int left = std::max(x - 1, 0), right = std::min(x + 1, picture.width - 1);
  const uint8_t *above = picture.row(std::max(y - 1, 0)), *below = picture.row(std::min(y + 1, picture.height - 1));
  const uint8_t* row = picture.row(y);
  double edge = 0;
  for (int c = 0; c < 3; ++c) {
    const double across = row[right * 3 + c] - row[left * 3 + c], down = below[x * 3 + c] - above[x * 3 + c];
    edge = std::max(edge, std::hypot(across, down));
  }
  return edge;
}

Image outline(const Image& picture) {
  Image result = picture;
  for (int y = 0; y < picture.height; ++y) {
    for (int x = 0; x < picture.width; ++x) {
      // As wide as three pixels, so that lines survive being scaled down.
      double edge = 0;
      for (int dy = -1; dy <= 1; ++dy) {
        for (int dx = -1; dx <= 1; ++dx) {
          edge = std::max(edge, edge_at(picture, std::clamp(x + dx, 0, picture.width - 1),
                                        std::clamp(y + dy, 0, picture.height - 1)));
        }
      }
      const double part = std::clamp((edge - kFaintEdge) / (kFullEdge - kFaintEdge), 0.0, 1.0);
      for (int c = 0; c < 3; ++c) result.row(y)[x * 3 + c] = mixed(255, kLine[static_cast<size_t>(c)], part);
    }
  }
  return result;
}

}  // namespace

EmojiStyle parse_emoji_style(const std::string& text) {
  if (text == "plain") return EmojiStyle::kPlain;
  if (text == "outline") return EmojiStyle::kOutline;
  if (text == "duotone") return EmojiStyle::kDuotone;
  throw ConfigError("[--style] expected plain, outline or duotone, got \"" + text + "\"");
}

Image in_style(const Image& picture, EmojiStyle style) {
  MILLRACE_CHECK(picture.channels == 3);
  if (style == EmojiStyle::kOutline) return outline(picture);
  return style == EmojiStyle::kDuotone ? duotone(picture) : picture;
}

std::array<uint8_t, 3> in_style(std::array<uint8_t, 3> colour, EmojiStyle style) {
  Image pixel;
  pixel.reshape(1, 1, 3);
  std::copy(colour.begin(), colour.end(), pixel.pixels.begin());
  const Image result = in_style(pixel, style);
  return {result.pixels[0], result.pixels[1], result.pixels[2]};
}

}  // namespace millrace
