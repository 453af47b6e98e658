#include "picture_sets/pixel_checks.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <future>
#include <optional>
#include <system_error>

#include "base/error.h"
#include "base/files.h"
#include "base/printable.h"
#include "base/thread_pool.h"
#include "images/bmp.h"
#include "images/decode.h"
#include "images/orientation.h"
#include "images/resample.h"

namespace millrace {
namespace {

constexpr int kSpots = 8;
constexpr int kMaxDifferentBits = 8;   // of 64
constexpr int kMaxMeanDifference = 5;  // grey levels
constexpr int kGlanceSide = 64;        // enough of a picture to look at

Image decode_with(const DecodeOptions& options, std::span<const std::byte> bytes, const std::string& path,
                  bool* is_truncated) {
  if (is_bmp(bytes)) return decode_bmp(bytes, path, options.max_pixels);
  DecodedImage decoded = decode_image(bytes, path, options);
  if (is_truncated != nullptr) *is_truncated = decoded.truncated;
  return turn_upright(decoded.image, read_orientation(bytes));
}

struct Look {
  std::optional<PictureGlance> glance;  // none: not decoded
  bool is_truncated = false;
  std::string problem;
};

Look look_into(const std::string& path) {
  Look look;
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return look;  // its size came from a file of metadata
  try {
    look.glance = glance_at(load_upright(path, kGlanceSide, &look.is_truncated));
  } catch (const Error& failure) {
    look.problem = without_place(failure.what());
  }
  return look;
}

}  // namespace

PictureGlance glance_at(const Image& picture) {
  MILLRACE_CHECK(picture.channels == 3);
  PictureGlance glance;
  const Image wide = resize(picture, kSpots + 1, kSpots, Filter::kBilinear);
  for (int y = 0; y < kSpots; ++y) {
    const uint8_t* row = wide.row(y);
    const auto grey = [&](int x) { return 299 * row[3 * x] + 587 * row[3 * x + 1] + 114 * row[3 * x + 2]; };
    for (int x = 0; x < kSpots; ++x) glance.brighter = glance.brighter << 1 | (grey(x) > grey(x + 1) ? 1u : 0u);
  }
  const Image spots = resize(picture, kSpots, kSpots, Filter::kBilinear);
  std::copy(spots.pixels.begin(), spots.pixels.end(), glance.colours.begin());
  return glance;
}

bool is_nearly_same(const PictureGlance& a, const PictureGlance& b) {
  if (std::popcount(a.brighter ^ b.brighter) > kMaxDifferentBits) return false;
  int difference = 0;
  for (size_t i = 0; i < a.colours.size(); ++i) difference += std::abs(a.colours[i] - b.colours[i]);
  return difference <= kMaxMeanDifference * static_cast<int>(a.colours.size());
}

Image load_upright(const std::string& path, int min_short_side, bool* is_truncated) {
  const MappedFile file(path);
  return decode_with({.min_short_side = min_short_side}, file.bytes(), path, is_truncated);
}

Image decode_upright(std::span<const std::byte> bytes, const std::string& path, bool keep_alpha, bool* is_truncated) {
  return decode_with({.keep_alpha = keep_alpha}, bytes, path, is_truncated);
}

void check_pixels(PictureSet& set, int num_threads) {
  const std::vector<Picture>& pictures = set.train.pictures;
  std::vector<Look> looks;
  {
    ThreadPool pool(std::max(1, num_threads));
    std::vector<std::future<Look>> waiting;
    for (const Picture& picture : pictures) {
      waiting.push_back(pool.submit([&picture] { return look_into(picture.file.path); }));
    }
    for (auto& future : waiting) looks.push_back(future.get());
  }
  for (size_t i = 0; i < looks.size(); ++i) {
    const std::string& name = pictures[i].file.key;
    if (!looks[i].problem.empty())
      set.notices.add("damaged_picture", looks[i].problem + ": training leaves it out", name);
    if (looks[i].is_truncated) {
      set.notices.add("truncated_picture", "expected whole pictures, got one cut short: grey or black below", name);
    }
    for (size_t j = 0; j < i && looks[i].glance; ++j) {
      if (!looks[j].glance || !is_nearly_same(*looks[i].glance, *looks[j].glance)) continue;
      set.notices.add("near_duplicate", "expected different pictures, got nearly the same",
                      pictures[j].file.key + " = " + name);
      break;
    }
  }
}

}  // namespace millrace
