// Where the picture of each prompt lies in a grid of samples: a small file beside the grid (step-00000200.json beside
// step-00000200.png), from which the report cuts the grid into a gallery.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace millrace {

struct SampleGrid {
  std::vector<std::string> prompts;
  int width = 0, height = 0;                 // of each picture, in pixels of the grid
  std::vector<std::pair<int, int>> corners;  // of each prompt's picture: left, top
};

std::string to_json(const SampleGrid& grid);
// None without such a file, or where it is damaged.
std::optional<SampleGrid> read_sample_grid(const std::filesystem::path& path);

}  // namespace millrace
