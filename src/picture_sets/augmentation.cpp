#include "picture_sets/augmentation.h"

namespace millrace {
namespace {

// Where each draw has its words in the sample's stream. Reproducible runs depend on them: never renumber.
enum Integer : uint64_t { kLeft, kTop, kMirrored };  // of random_below(): words 0 to 5
enum Uniform : uint64_t { kHasColours = 8, kIsHue, kAmount, kFaceScale = 12, kFaceShifts };  // of random_uniform()

ColourChange draw_colours(const RandomStream& numbers) {
  constexpr double kPart = 0.33, kMostHue = 8, kLeastGamma = 0.95, kMostGamma = 1.05;
  if (random_uniform(numbers, kHasColours) > kPart) return {};
  const double amount = random_uniform(numbers, kAmount);
  if (random_uniform(numbers, kIsHue) > 0.5) return {ColourChange::Kind::kHue, -kMostHue + 2 * kMostHue * amount};
  return {ColourChange::Kind::kGamma, kLeastGamma + (kMostGamma - kLeastGamma) * amount};
}

FaceCropRules face_rules(const Picture& picture, const SubsetOptions& subset) {
  return {.picture = picture.size,
          .crop = picture.choice.bucket,
          .range = *subset.face_crop_aug_range,
          .random_crop = subset.random_crop};
}

ScaledCrop draw_around_face(const Picture& picture, const SubsetOptions& subset, const RandomStream& numbers) {
  FaceDraws draws{.scale = random_uniform(numbers, kFaceScale)};
  for (size_t i = 0; i < draws.shifts.size(); ++i) draws.shifts[i] = random_uniform(numbers, kFaceShifts + i);
  return draw_face_crop(*picture.face, face_rules(picture, subset), draws);
}

bool is_a_range(const SubsetOptions& subset) {
  const auto& range = subset.face_crop_aug_range;
  return range && (*range)[0] != (*range)[1];
}

}  // namespace

Augmentation fixed_augmentation(const Picture& picture, const SubsetOptions& subset) {
  const BucketChoice& choice = picture.choice;
  if (!picture.face) return {.resized = choice.resized, .offset = choice.crop_offset()};
  const ScaledCrop crop = middle_face_crop(*picture.face, face_rules(picture, subset));
  return {.resized = crop.resized, .offset = crop.offset};
}

Augmentation draw_augmentation(const Picture& picture, const SubsetOptions& subset, const RandomStream& numbers) {
  const BucketChoice& choice = picture.choice;
  Augmentation drawn{.resized = choice.resized, .offset = choice.crop_offset()};
  if (picture.face) {
    const ScaledCrop crop = draw_around_face(picture, subset, numbers);
    drawn.resized = crop.resized;
    drawn.offset = crop.offset;
  } else if (subset.random_crop) {
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

bool draws_crop(const Picture& picture, const SubsetOptions& subset) {
  return subset.random_crop || (picture.face && is_a_range(subset));
}

bool draws_new_pictures(const SubsetOptions& subset) {
  return subset.random_crop || subset.color_aug || is_a_range(subset);
}

}  // namespace millrace
