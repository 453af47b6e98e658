#include "picture_sets/augmentation.h"

namespace millrace {
namespace {

// Where each draw has its words in the sample's stream. Reproducible runs depend on them: never renumber.
enum Integer : uint64_t { kLeft, kTop, kMirrored };            // of random_below(): words 0 to 5
enum Uniform : uint64_t { kHasColours = 8, kIsHue, kAmount };  // of random_uniform(): words 8 to 10

ColourChange draw_colours(const RandomStream& numbers) {
  constexpr double kPart = 0.33, kMostHue = 8, kLeastGamma = 0.95, kMostGamma = 1.05;
  if (random_uniform(numbers, kHasColours) > kPart) return {};
  const double amount = random_uniform(numbers, kAmount);
  if (random_uniform(numbers, kIsHue) > 0.5) return {ColourChange::Kind::kHue, -kMostHue + 2 * kMostHue * amount};
  return {ColourChange::Kind::kGamma, kLeastGamma + (kMostGamma - kLeastGamma) * amount};
}

}  // namespace

Augmentation fixed_augmentation(const Picture& picture) {
  return {.offset = picture.choice.crop_offset()};
}

Augmentation draw_augmentation(const Picture& picture, const SubsetOptions& subset, const RandomStream& numbers) {
  const BucketChoice& choice = picture.choice;
  Augmentation drawn = fixed_augmentation(picture);
  if (subset.random_crop) {
    const auto within = [&](uint64_t index, int64_t slack) {
      return static_cast<int64_t>(random_below(numbers, index, static_cast<uint64_t>(slack) + 1));
    };
    drawn.offset = {within(kLeft, choice.resized.width - choice.bucket.width),
                    within(kTop, choice.resized.height - choice.bucket.height)};
  }
  drawn.is_mirrored = subset.flip_aug && random_below(numbers, kMirrored, 2) == 1;
  if (subset.color_aug) drawn.colours = draw_colours(numbers);
  return drawn;
}

RandomStream augmentation_stream(uint64_t seed, uint32_t epoch, uint64_t sample_id) {
  return random_stream(seed, RandomPurpose::kAugmentation, epoch, sample_id);
}

bool draws_new_pictures(const SubsetOptions& subset) {
  return subset.random_crop || subset.color_aug;
}

}  // namespace millrace
