// json.dumps(value, ensure_ascii=False, indent=...) as Python writes it: what `tojson` of chat templates gives.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

namespace millrace {

// indent: blanks a level, nothing: one line with ", " and ": " between things.
std::string python_json_text(const nlohmann::ordered_json& value, std::optional<int> indent = std::nullopt);

}  // namespace millrace
