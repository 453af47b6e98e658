#include "picture_sets/contact_sheet.h"

#include <algorithm>
#include <future>

#include "base/error.h"
#include "base/thread_pool.h"
#include "images/bitmap_font.h"
#include "images/resample.h"
#include "picture_sets/augmentation.h"
#include "picture_sets/pixel_checks.h"

namespace millrace {
namespace {

constexpr int kSide = 160;  // of a thumbnail, at most
constexpr int kGap = 8;
constexpr int kText = 2 * kGlyphHeight + 4;
constexpr int kColumns = 8;
constexpr int kCellWidth = kSide + kGap;
constexpr int kCellHeight = kSide + kText + kGap;

Image filled(int width, int height, uint8_t grey) {
  Image image;
  image.reshape(width, height, 3);
  std::fill(image.pixels.begin(), image.pixels.end(), grey);
  return image;
}

void paste(Image& sheet, const Image& image, int left, int top) {
  for (int y = 0; y < image.height; ++y) {
    std::copy_n(image.row(y), image.row_bytes(), sheet.row(top + y) + size_t{3} * static_cast<size_t>(left));
  }
}

// The outline of a box, red, two pixels wide, inside the picture.
void draw_box(Image& image, const Box& box) {
  const auto paint = [&](int x, int y) {
    if (x < 0 || y < 0 || x >= image.width || y >= image.height) return;
    uint8_t* pixel = image.row(y) + size_t{3} * static_cast<size_t>(x);
    pixel[0] = 230;
    pixel[1] = pixel[2] = 20;
  };
  for (int inset = 0; inset < 2; ++inset) {
    const int right = box.left + box.width - 1 - inset, bottom = box.top + box.height - 1 - inset;
    for (int x = box.left + inset; x <= right; ++x) {
      paint(x, box.top + inset);
      paint(x, bottom);
    }
    for (int y = box.top + inset; y <= bottom; ++y) {
      paint(box.left + inset, y);
      paint(right, y);
    }
  }
}

Image thumbnail(const Picture& picture, const SubsetOptions& subset) {
  const double scale =
      static_cast<double>(kSide) / static_cast<double>(std::max(picture.size.width, picture.size.height));
  const auto scaled = [&](int64_t pixels) {
    return std::max(1, static_cast<int>(static_cast<double>(pixels) * scale + 0.5));
  };
  const int width = scaled(picture.size.width), height = scaled(picture.size.height);
  Image small;
  try {
    small = resize(load_upright(picture.file.path, kSide), width, height, Filter::kBilinear);
  } catch (const Error&) {  // the report says why
    small = filled(width, height, 200);
    draw_text(small, 4, height / 2, "cannot be decoded");
    return small;
  }
  const Augmentation fixed = fixed_augmentation(picture, subset);
  const PictureSize& bucket = picture.choice.bucket;
  const double x_scale = static_cast<double>(width) / static_cast<double>(fixed.resized.width);
  const double y_scale = static_cast<double>(height) / static_cast<double>(fixed.resized.height);
  draw_box(small, {static_cast<int>(static_cast<double>(fixed.offset.width) * x_scale + 0.5),
                   static_cast<int>(static_cast<double>(fixed.offset.height) * y_scale + 0.5),
                   static_cast<int>(static_cast<double>(bucket.width) * x_scale + 0.5),
                   static_cast<int>(static_cast<double>(bucket.height) * y_scale + 0.5)});
  return small;
}

}  // namespace

Image contact_sheet(const std::vector<PictureSet>& sets, int num_threads, size_t max_pictures) {
  struct Shown {
    const Picture* picture = nullptr;
    const SubsetOptions* subset = nullptr;
  };
  std::vector<Shown> pictures;
  for (const PictureSet& set : sets) {
    const size_t begin = pictures.size();
    for (const Picture& picture : set.train.pictures) {
      pictures.push_back({&picture, &set.options.subsets[picture.subset]});
    }
    std::stable_sort(
        pictures.begin() + static_cast<ptrdiff_t>(begin), pictures.end(),
        [](const Shown& a, const Shown& b) { return a.picture->choice.bucket < b.picture->choice.bucket; });
  }
  pictures.resize(std::min(pictures.size(), max_pictures));
  const int count = static_cast<int>(pictures.size());
  const int rows = std::max(1, (count + kColumns - 1) / kColumns);
  Image sheet = filled(std::clamp(count, 1, kColumns) * kCellWidth + kGap, rows * kCellHeight + kGap, 255);
  ThreadPool pool(std::max(1, num_threads));
  std::vector<std::future<Image>> waiting;
  for (const Shown& shown : pictures) {
    waiting.push_back(pool.submit([shown] { return thumbnail(*shown.picture, *shown.subset); }));
  }
  for (int i = 0; i < count; ++i) {
    const Image small = waiting[static_cast<size_t>(i)].get();
    const Picture& picture = *pictures[static_cast<size_t>(i)].picture;
    const int left = kGap + i % kColumns * kCellWidth, top = kGap + i / kColumns * kCellHeight;
    paste(sheet, small, left, top);
    draw_text(sheet, left, top + kSide + 2, "bucket " + size_text(picture.choice.bucket));
    draw_text(sheet, left, top + kSide + 2 + kGlyphHeight, "of " + size_text(picture.size));
  }
  return sheet;
}

}  // namespace millrace
