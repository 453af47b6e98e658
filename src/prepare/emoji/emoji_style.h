// The same emoji in another style: a small set of its own for LoRA to learn, made on the spot.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "images/image.h"

namespace millrace {

enum class EmojiStyle {
  kPlain,    // as the font has it
  kOutline,  // dark lines where colours change, on white
  kDuotone,  // from dark blue to yellow, by brightness
};

EmojiStyle parse_emoji_style(const std::string& text);  // "plain", "outline" or "duotone"; throws ConfigError

// An RGB picture in the style, and what its background becomes.
Image in_style(const Image& picture, EmojiStyle style);
std::array<uint8_t, 3> in_style(std::array<uint8_t, 3> colour, EmojiStyle style);

}  // namespace millrace
