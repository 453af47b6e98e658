// The files that a run leaves after some of its steps, such as samples/step-00000200.png, for the report.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace millrace {

std::string step_file_name(int64_t step);  // "step-00000200"
// 200 of "step-00000200"; nullopt for other names.
std::optional<int64_t> parse_step_name(std::string_view name);

// Without every other item, but with the first and the last; at most two items stay as they are.
template <typename Item>
std::vector<Item> every_other(const std::vector<Item>& items) {
  std::vector<Item> kept;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i % 2 == 0 || i + 1 == items.size()) kept.push_back(items[i]);
  }
  return kept;
}

}  // namespace millrace
