#include "data/json_sidecar.h"

#include <span>
#include <string>

#include "formats/read_python_json.h"

namespace millrace {

std::optional<nlohmann::ordered_json> sidecar_member(const SampleShard& shard, size_t sample, std::string_view key) {
  if (!shard.field_size(sample, SampleField::kJson)) return std::nullopt;
  const PythonJsonLimits limits;
  std::string scratch;
  const std::span<const std::byte> bytes =
      shard.view(sample, SampleField::kJson, limits.max_bytes, limits.max_bytes, scratch);
  return python_json_member({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, key,
                            shard.describe(sample) + ".json", limits);
}

}  // namespace millrace
