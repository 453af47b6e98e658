// Small data sets for the tests of this folder, and a loader for their pictures.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/files.h"
#include "data/picture_decoder.h"
#include "data/sample_loader.h"
#include "formats/tar.h"
#include "images/encode.h"

namespace millrace {

// A temporary folder for one test, removed afterwards.
class TestFolder {
 public:
  TestFolder() {
    static int counter = 0;
    path_ = std::filesystem::temp_directory_path() /
            ("millrace_data_test-" + std::to_string(::getpid()) + "-" + std::to_string(counter++));
    std::filesystem::create_directories(path_);
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  std::string string() const { return path_.string(); }

 private:
  std::filesystem::path path_;
};

// A picture that encodes its number: red is number % 256, green number / 256; blue rises to the right.
inline std::string numbered_png(int number, int width = 16, int height = 16) {
  Image image;
  image.reshape(width, height, 3);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      uint8_t* pixel = image.row(y) + 3 * x;
      pixel[0] = static_cast<uint8_t>(number % 256);
      pixel[1] = static_cast<uint8_t>(number / 256);
      pixel[2] = static_cast<uint8_t>(255 * x / width);
    }
  }
  return encode_png(image);
}

using Members = std::vector<std::pair<std::string, std::string>>;

inline void write_tar(const std::filesystem::path& path, const Members& members) {
  TarWriter tar(path);
  for (const auto& [name, content] : members) tar.add(name, content);
  tar.close();
}

inline std::string numbered_key(int number) {
  char text[16];
  std::snprintf(text, sizeof text, "%06d", number);
  return text;
}

// Samples numbered first, first + 1, ...: png and txt, 20 pixels wide so that there is something to crop.
inline Members numbered_samples(int first, int count) {
  Members members;
  for (int number = first; number < first + count; ++number) {
    members.emplace_back(numbered_key(number) + ".png", numbered_png(number, 20, 16));
    members.emplace_back(numbered_key(number) + ".txt", "picture " + std::to_string(number));
  }
  return members;
}

// counts[i] samples in shard i.
inline void write_shards(const TestFolder& folder, const std::vector<int>& counts) {
  int first = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    write_tar(folder / ("shard-" + numbered_key(static_cast<int>(i)) + ".tar"), numbered_samples(first, counts[i]));
    first += counts[i];
  }
}

struct PictureLoaderOptions : SampleLoaderOptions {
  std::string folder;
  SquareTransform transform;
  bool skip_small = true;
};

class PictureLoader : public SampleLoader {
 public:
  explicit PictureLoader(const PictureLoaderOptions& options)
      : SampleLoader(with_shards(options),
                     std::make_unique<PictureDecoder>(PictureDecoderOptions{options.transform, options.skip_small,
                                                                            TimestepUse::kUnused, options.seed})) {}

 private:
  static SampleLoaderOptions with_shards(SampleLoaderOptions options, const std::string& folder) {
    options.shards = list_shards({folder});
    return options;
  }
  static SampleLoaderOptions with_shards(const PictureLoaderOptions& options) {
    return with_shards(options, options.folder);
  }
};

}  // namespace millrace
