#include "picture_sets/face_crop.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <vector>

#include "base/text.h"
#include "config/number_text.h"

namespace millrace {
namespace {

int64_t longer_side(const Face& face) {
  return std::max(face.width, face.height);
}

double quotient(int64_t a, int64_t b) {
  return static_cast<double>(a) / static_cast<double>(b);
}

int64_t scaled(int64_t pixels, double scale) {
  return static_cast<int64_t>(static_cast<double>(pixels) * scale + 0.5);
}

// Python's randint(begin, end) of a number from 0 to below 1.
int64_t drawn(int64_t begin, int64_t end, double number) {
  return begin + static_cast<int64_t>(number * static_cast<double>(end - begin + 1));
}

struct Scales {
  double least = 1, most = 1;
};
Scales scales_of(const Face& face, const FaceCropRules& rules) {
  const double cover =
      std::max(quotient(rules.crop.height, rules.picture.height), quotient(rules.crop.width, rules.picture.width));
  const double limit = std::max(1.0, cover);
  const auto scale_of = [&](double multiple) {
    const int64_t shorter = std::min(rules.crop.height, rules.crop.width);
    return static_cast<double>(shorter) / (static_cast<double>(longer_side(face)) * multiple);
  };
  const double least = std::min(limit, std::max(cover, scale_of(rules.range[1])));
  return {least, std::min(limit, std::max(least, scale_of(rules.range[0])))};
}

// How far the crop moves away from the middle of the face, of a scaled picture this long.
int64_t shift_of(const Face& face, const FaceCropRules& rules, int64_t middle, int64_t length, const double* numbers) {
  constexpr int64_t kLeastFace = 40, kPartOfCrop = 10, kPartOfFace = 20;
  if (rules.random_crop) {
    const int64_t most = std::max(length - middle, middle);
    return drawn(0, most, numbers[0]) + drawn(0, most, numbers[1]) - most;
  }
  const int64_t size = longer_side(face);
  const bool is_tiny = size <= std::min(rules.crop.width, rules.crop.height) / kPartOfCrop || size < kLeastFace;
  if (rules.range[0] == rules.range[1] || is_tiny) return 0;
  return drawn(-((size + kPartOfFace - 1) / kPartOfFace), size / kPartOfFace, numbers[0]);
}

ScaledCrop crop_at(const Face& face, const FaceCropRules& rules, double scale, const FaceDraws* draws) {
  ScaledCrop result;
  result.resized = {std::max(rules.crop.width, scaled(rules.picture.width, scale)),
                    std::max(rules.crop.height, scaled(rules.picture.height, scale))};
  const auto begin = [&](int64_t place, int64_t length, int64_t crop, size_t first_shift) {
    const int64_t middle = scaled(place, scale);
    const int64_t shift =
        draws == nullptr ? 0 : shift_of(face, rules, middle, length, draws->shifts.data() + first_shift);
    return std::max<int64_t>(0, std::min(middle - crop / 2 + shift, length - crop));
  };
  result.offset = {begin(face.x, result.resized.width, rules.crop.width, 2),
                   begin(face.y, result.resized.height, rules.crop.height, 0)};
  return result;
}

}  // namespace

std::optional<Face> face_in_name(const std::string& path) {
  constexpr size_t kNumbers = 4;
  const std::vector<std::string> parts = split(std::filesystem::path(path).stem().string(), '_');
  if (parts.size() <= kNumbers) return std::nullopt;
  std::array<int64_t, kNumbers> numbers = {};
  for (size_t i = 0; i < kNumbers; ++i) {
    const std::optional<int64_t> number = parse_integer(parts[parts.size() - kNumbers + i]);
    if (!number) return std::nullopt;
    numbers[i] = *number;
  }
  const Face face = {numbers[0], numbers[1], numbers[2], numbers[3]};
  constexpr int64_t kMost = 1 << 30;  // where sums and products still hold
  const bool is_sane = std::all_of(numbers.begin(), numbers.end(), [](int64_t n) { return n > -kMost && n < kMost; });
  return is_sane && face.x > 0 && longer_side(face) > 0 ? std::optional(face) : std::nullopt;
}

ScaledCrop draw_face_crop(const Face& face, const FaceCropRules& rules, const FaceDraws& draws) {
  const Scales scales = scales_of(face, rules);
  const bool is_one = scales.least >= scales.most;
  return crop_at(face, rules, is_one ? scales.least : scales.least + (scales.most - scales.least) * draws.scale,
                 &draws);
}

ScaledCrop middle_face_crop(const Face& face, const FaceCropRules& rules) {
  const Scales scales = scales_of(face, rules);
  return crop_at(face, rules, (scales.least + std::max(scales.least, scales.most)) / 2, nullptr);
}

}  // namespace millrace
