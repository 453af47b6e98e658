// WebDataset shards of captioned emoji: a real data set that needs no download.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "prepare/emoji/emoji_style.h"

namespace millrace {

struct EmojiDatasetOptions {
  std::filesystem::path output;
  std::filesystem::path font = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf";
  std::filesystem::path annotations = "/usr/share/unicode/cldr/common/annotations/en.xml";
  std::filesystem::path only;  // a list of emoji; empty: all, well-known ones first
  std::string filter;          // comma-separated words; empty: no filter
  int size = 32;               // pixels a side
  int64_t count = 0;           // only the first ones, this many; 0: all
  int64_t samples_per_shard = 500;
  std::array<uint8_t, 3> background = {255, 255, 255};
  EmojiStyle style = EmojiStyle::kPlain;
};

struct EmojiDatasetSummary {
  int64_t samples = 0;
  int64_t shards = 0;
};

// "white", "black", "grey" or "#RRGGBB". Throws ConfigError.
std::array<uint8_t, 3> parse_colour(const std::string& text);

// Writes emoji-NNNNNN.tar (png, txt, json) and captions.json into output; the same bytes on every run. Shards of an
// earlier run in the same folder are replaced. progress(done, total) is called after each picture.
EmojiDatasetSummary write_emoji_dataset(const EmojiDatasetOptions& options,
                                        const std::function<void(int64_t, int64_t)>& progress = {});

}  // namespace millrace
