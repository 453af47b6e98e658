#include "images/colour_change.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/error.h"

namespace millrace {
namespace {

constexpr int kHues = 180;
constexpr int kFixedBits = 12;  // of the fixed-point factors

struct Hsv {
  int hue = 0;  // 0 to 179
  int saturation = 0;
  int value = 0;
};

// factor / divisor for divisors 1 to 255.
std::array<int, 256> quotients(double factor) {
  std::array<int, 256> table = {};
  for (int i = 1; i < 256; ++i) table[i] = static_cast<int>(std::nearbyint(factor * (1 << kFixedBits) / i));
  return table;
}

int rounded_shift(int fixed_point) {
  return (fixed_point + (1 << (kFixedBits - 1))) >> kFixedBits;
}

Hsv hsv_of(int blue, int green, int red) {
  static const std::array<int, 256> kSaturations = quotients(255), kSixths = quotients(kHues / 6.0);
  const int value = std::max({blue, green, red}), range = value - std::min({blue, green, red});
  const int sixths = value == red ? green - blue : value == green ? blue - red + 2 * range : red - green + 4 * range;
  const int hue = rounded_shift(sixths * kSixths[range]);
  return {hue < 0 ? hue + kHues : hue, rounded_shift(range * kSaturations[value]), value};
}

uint8_t level_of(float part) {
  return static_cast<uint8_t>(std::clamp(part * 255.0F, 0.0F, 255.0F));
}

struct Bgr {
  uint8_t blue, green, red;
};

// To the level what OpenCV's vector code gives: in fp32, with fused operations, and rounded down.
Bgr bgr_of(const Hsv& hsv) {
  const float sixths = static_cast<float>(hsv.hue) * (6.0F / kHues);
  const float saturation = static_cast<float>(hsv.saturation) * (1.0F / 255.0F);
  const float value = static_cast<float>(hsv.value) * (1.0F / 255.0F);
  const float sector = std::floor(sixths), within = sixths - sector;
  const float lowest = value * (1 - saturation);
  const float falling = value * std::fma(-saturation, within, 1.0F),
              rising = value * std::fma(-saturation, 1 - within, 1.0F);
  const uint8_t v = level_of(value), p = level_of(lowest), q = level_of(falling), t = level_of(rising);
  switch (static_cast<int>(sector)) {
    case 0:
      return {p, t, v};
    case 1:
      return {p, v, q};
    case 2:
      return {t, v, p};
    case 3:
      return {v, q, p};
    case 4:
      return {v, p, t};
    default:
      return {q, p, v};
  }
}

// The red of RGB stands where BGR has its blue.
void shift_hue(Image& image, double shift) {
  std::array<int, kHues> shifted = {};
  for (int hue = 0; hue < kHues; ++hue) {
    shifted[hue] = static_cast<int>(std::fmod(hue + (shift < 0 ? kHues + shift : shift), kHues));
  }
  const auto channels = static_cast<size_t>(image.channels);
  for (size_t i = 0; i < image.pixels.size(); i += channels) {
    uint8_t* pixel = &image.pixels[i];
    Hsv hsv = hsv_of(pixel[0], pixel[1], pixel[2]);
    hsv.hue = shifted[hsv.hue];
    const Bgr bgr = bgr_of(hsv);
    pixel[0] = bgr.blue;
    pixel[1] = bgr.green;
    pixel[2] = bgr.red;
  }
}

void apply_gamma(Image& image, double exponent) {
  std::array<uint8_t, 256> levels = {};
  for (int i = 0; i < 256; ++i) levels[i] = static_cast<uint8_t>(std::clamp(std::pow(i, exponent), 0.0, 255.0));
  const auto channels = static_cast<size_t>(image.channels);
  for (size_t i = 0; i < image.pixels.size(); i += channels) {
    for (size_t c = 0; c < 3; ++c) image.pixels[i + c] = levels[image.pixels[i + c]];
  }
}

}  // namespace

void change_colours(Image& image, const ColourChange& change) {
  MILLRACE_CHECK(image.channels == 3 || image.channels == 4);
  if (change.kind == ColourChange::Kind::kHue) shift_hue(image, change.amount);
  if (change.kind == ColourChange::Kind::kGamma) apply_gamma(image, change.amount);
}

}  // namespace millrace
