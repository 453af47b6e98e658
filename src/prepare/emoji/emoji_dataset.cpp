#include "prepare/emoji/emoji_dataset.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "data/shard_writer.h"
#include "images/encode.h"
#include "images/resample.h"
#include "prepare/emoji/cldr_names.h"
#include "prepare/emoji/emoji_font.h"
#include "prepare/emoji/emoji_list.h"
#include "prepare/emoji/utf8.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Scales picture into a square of `size`, centred on the background.
Image fit_into_square(const Image& picture, int size, std::array<uint8_t, 3> background) {
  const int longer = std::max(picture.width, picture.height);
  const auto scaled = [&](int side) { return std::max(1, (2 * side * size + longer) / (2 * longer)); };
  const Image small = resize(picture, scaled(picture.width), scaled(picture.height));
  Image square;
  square.reshape(size, size, 3);
  for (size_t i = 0; i < square.pixels.size(); ++i) square.pixels[i] = background[i % 3];
  const int left = (size - small.width) / 2, top = (size - small.height) / 2;
  for (int y = 0; y < small.height; ++y) {
    std::copy_n(small.row(y), small.row_bytes(), square.row(top + y) + static_cast<size_t>(left) * 3);
  }
  return square;
}

std::string hex(char32_t code, const char* format) {
  char text[16];
  std::snprintf(text, sizeof text, format, static_cast<unsigned>(code));
  return text;
}

// Keeps emoji with a picture in the font; a missing one is an error if a list named it, else it is skipped.
struct Picture {
  EmojiEntry entry;
  Image image;
};
std::vector<Picture> draw_all(const EmojiDatasetOptions& options, const std::vector<EmojiEntry>& entries) {
  const EmojiFont font(options.font);
  std::vector<Picture> pictures;
  for (const EmojiEntry& entry : entries) {
    if (options.count > 0 && static_cast<int64_t>(pictures.size()) == options.count) break;
    const std::optional<Image> image = font.draw(entry.code_point, options.background);
    if (image) {
      const auto background = in_style(options.background, options.style);
      pictures.push_back({entry, fit_into_square(in_style(*image, options.style), options.size, background)});
    } else if (!options.only.empty()) {
      throw DataError("[" + options.font.string() + "] expected a picture of " + encode_utf8(entry.code_point) + " " +
                      hex(entry.code_point, "U+%04X") + ", got none");
    }
  }
  return pictures;
}

void remove_old_shards(const fs::path& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (entry.is_regular_file() && starts_with(name, "emoji-") && ends_with(name, ".tar")) fs::remove(entry.path());
  }
}

}  // namespace

std::array<uint8_t, 3> parse_colour(const std::string& text) {
  if (text == "white") return {255, 255, 255};
  if (text == "black") return {0, 0, 0};
  if (text == "grey" || text == "gray") return {128, 128, 128};
  unsigned red = 0, green = 0, blue = 0;
  if (text.size() == 7 && text.find_first_not_of("0123456789abcdefABCDEF", 1) == std::string::npos &&
      std::sscanf(text.c_str(), "#%2x%2x%2x", &red, &green, &blue) == 3) {
    return {static_cast<uint8_t>(red), static_cast<uint8_t>(green), static_cast<uint8_t>(blue)};
  }
  throw ConfigError("[--background] expected white, black, grey or #RRGGBB, got \"" + text + "\"");
}

EmojiDatasetSummary write_emoji_dataset(const EmojiDatasetOptions& options,
                                        const std::function<void(int64_t, int64_t)>& progress) {
  if (options.size < 8 || options.size > 1024) {
    throw ConfigError("[--size] expected 8 to 1024 pixels, got " + std::to_string(options.size));
  }
  if (options.samples_per_shard < 1) {
    throw ConfigError("[--samples-per-shard] expected at least 1, got " + std::to_string(options.samples_per_shard));
  }
  const std::map<char32_t, std::string> names = read_cldr_names(options.annotations);
  std::vector<EmojiEntry> entries;
  if (options.only.empty()) {
    entries = all_emoji(names);
  } else {
    if (!fs::exists(options.only)) {
      throw DataError("[" + options.only.string() + "] expected a list of emoji, got no such file");
    }
    constexpr uint64_t kMaxListBytes = 1 << 20;
    entries = parse_emoji_list(read_file(options.only, kMaxListBytes), names, options.only.string());
  }
  if (!options.filter.empty()) entries = filter_emoji(entries, options.filter);
  const std::vector<Picture> pictures = draw_all(options, entries);
  if (pictures.empty())
    throw DataError("[prepare emoji] expected at least one emoji to be left, got none (try fewer filters)");

  create_folders(options.output);
  remove_old_shards(options.output);
  ShardWriter writer(options.output, "emoji", options.samples_per_shard);
  Json listing = Json::array();
  for (const auto& [entry, image] : pictures) {
    Json description = {{"caption", entry.caption},
                        {"codepoint", hex(entry.code_point, "U+%04X")},
                        {"emoji", encode_utf8(entry.code_point)}};
    const auto name = names.find(entry.code_point);
    if (name != names.end()) description["name"] = name->second;
    const std::string key = hex(entry.code_point, "%05x");
    writer.add(key, {{"png", encode_png(image)}, {"txt", entry.caption}, {"json", description.dump()}});
    description["key"] = key;
    description["shard"] = writer.shard_name();
    listing.push_back(std::move(description));
    if (progress) progress(static_cast<int64_t>(listing.size()), static_cast<int64_t>(pictures.size()));
  }
  writer.close();
  write_file_atomically(options.output / "captions.json", listing.dump(1) + "\n");
  return {static_cast<int64_t>(pictures.size()), writer.shards()};
}

}  // namespace millrace
