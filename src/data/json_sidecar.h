// The json file beside a sample's picture: untrusted, and read only for the fields that are needed
// from it.
#pragma once

#include <optional>
#include <string_view>

#include <nlohmann/json.hpp>

#include "data/sample_shard.h"

namespace millrace {

// One value of the outermost object; nullopt if the sample has no json or the json lacks that key. Throws DataError
// naming the sample when the json cannot be read (see formats/read_python_json.h for the accepted syntax).
std::optional<nlohmann::ordered_json> sidecar_member(const SampleShard& shard, size_t sample, std::string_view key);

}  // namespace millrace
