#include "picture_sets/held_back.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/printable.h"
#include "base/text.h"

namespace millrace {

std::string held_back_key(const PictureFile& picture) {
  const std::filesystem::path path = std::filesystem::path(picture.path).lexically_normal();
  return (path.parent_path().filename() / path.filename()).string();
}

HeldBack choose_held_back(const std::set<std::string>& keys, double part, const std::string& place) {
  const auto number = static_cast<double>(keys.size());
  const auto count = static_cast<size_t>(std::llround(part * number));
  if (count == 0 || count >= keys.size()) {
    std::string message = "[validation.split] expected a part of the " + std::to_string(keys.size()) + " pictures of " +
                          printable(place) + " that leaves some to train on and some to validate on, got " +
                          format_double("%g", part) + ", which is " + std::to_string(count);
    if (keys.size() > 1) message += " (try " + format_double("%.2g", std::max(0.1, 1 / number)) + ")";
    throw ConfigError(message);
  }
  std::vector<std::pair<uint64_t, std::string>> order;
  for (const std::string& key : keys) order.emplace_back(checksum64(key.data(), key.size()), key);
  std::sort(order.begin(), order.end());
  HeldBack held_back;
  for (size_t i = 0; i < count; ++i) held_back.keys.insert(order[i].second);
  return held_back;
}

}  // namespace millrace
