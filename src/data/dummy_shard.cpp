#include "data/dummy_shard.h"

#include <algorithm>

#include "base/error.h"
#include "base/philox.h"
#include "images/encode.h"

namespace millrace {
namespace {

constexpr const char* kCaption = "A photo of a cat";

std::string noise_picture(size_t sample) {
  Image image;
  image.reshape(DummyShard::kSide, DummyShard::kSide, 3);
  const RandomStream random = random_stream(0, RandomPurpose::kNoise, 0, sample);
  for (int y = 0; y < image.height; ++y) {
    for (int i = 0; i < image.width * 3; ++i) {
      const auto draw = static_cast<uint64_t>(y * image.width * 3 + i);
      image.row(y)[i] = static_cast<uint8_t>(random_below(random, draw, 256));
    }
  }
  return encode_png(image, {}, {}, /*level=*/0);
}

}  // namespace

std::optional<uint64_t> DummyShard::field_size(size_t, SampleField field) const {
  if (field == SampleField::kPicture) return uint64_t{3} * kSide * kSide;  // about
  if (field == SampleField::kCaption) return std::string(kCaption).size();
  return std::nullopt;
}

std::span<const std::byte> DummyShard::view(size_t sample, SampleField field, uint64_t max_bytes, uint64_t,
                                            std::string& scratch) const {
  MILLRACE_CHECK(field == SampleField::kPicture || field == SampleField::kCaption);
  scratch = field == SampleField::kPicture ? noise_picture(sample) : kCaption;
  scratch.resize(std::min<size_t>(scratch.size(), max_bytes));
  return std::as_bytes(std::span(scratch.data(), scratch.size()));
}

std::vector<ShardFile> dummy_shards() {
  return {{"dummy", "dummy", 1, ShardKind::kDummy}};
}

}  // namespace millrace
