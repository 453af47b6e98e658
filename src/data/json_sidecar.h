// The json that stands beside a sample's picture: other people wrote it, and it is read only for what is needed from
// it.
#pragma once

#include <optional>
#include <string_view>

#include <nlohmann/json.hpp>

#include "data/sample_shard.h"

namespace millrace {

// One value of the outermost object; nullopt where the sample has no json, or none with that key. Throws DataError
// naming the sample when the json cannot be read (see formats/read_python_json.h for what can).
std::optional<nlohmann::ordered_json> sidecar_member(const SampleShard& shard, size_t sample, std::string_view key);

}  // namespace millrace
