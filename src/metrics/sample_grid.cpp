#include "metrics/sample_grid.h"

#include <fstream>
#include <nlohmann/json.hpp>

namespace millrace {

std::string to_json(const SampleGrid& grid) {
  const nlohmann::ordered_json json = {
      {"prompts", grid.prompts}, {"width", grid.width}, {"height", grid.height}, {"corners", grid.corners}};
  return json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::optional<SampleGrid> read_sample_grid(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) return std::nullopt;
  try {
    const nlohmann::json json = nlohmann::json::parse(file);
    SampleGrid grid;
    grid.prompts = json.at("prompts").get<std::vector<std::string>>();
    grid.width = json.at("width").get<int>();
    grid.height = json.at("height").get<int>();
    grid.corners = json.at("corners").get<std::vector<std::pair<int, int>>>();
    const bool is_whole = grid.corners.size() == grid.prompts.size() && grid.width > 0 && grid.height > 0;
    return is_whole ? std::optional(grid) : std::nullopt;
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
}

}  // namespace millrace
