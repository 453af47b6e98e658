#include "data/loader_position.h"

#include <limits>

#include "base/error.h"
#include "formats/json.h"

namespace millrace {
namespace {

using Json = nlohmann::json;

constexpr const char* kPlace = "data loader position";
constexpr int kVersion = 1;

[[noreturn]] void fail_position(const std::string& expected, const std::string& got) {
  throw DataError(std::string("[") + kPlace + "] expected " + expected + ", got " + got);
}

template <typename Int>
Int read(const Json& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_integer()) fail_position(std::string("a number ") + key, "none");
  if (found->is_number_unsigned()) {
    const auto value = found->get<uint64_t>();
    if (value <= static_cast<uint64_t>(std::numeric_limits<Int>::max())) return static_cast<Int>(value);
  }
  fail_position(std::string("a count for ") + key, found->dump());
}

template <typename Value>
void compare(const char* what, const Value& saved, const Value& now) {
  if (saved != now)
    fail_position(std::string("the ") + what + " of the saved run, " + Json(saved).dump(), Json(now).dump());
}

}  // namespace

std::string write_position(const LoaderPosition& position, const OrderIdentity& identity) {
  Json buffer = Json::array();
  for (const SampleRef& ref : position.order.buffer) {
    buffer.push_back(ref.shard);
    buffer.push_back(ref.sample);
  }
  const Json json = {{"version", kVersion},
                     {"data_set", identity.data_set},
                     {"seed", identity.seed},
                     {"shuffle", identity.shuffle},
                     {"shuffle_buffer_size", identity.shuffle_buffer_size},
                     {"epoch", position.order.epoch},
                     {"shards_entered", position.order.shards_entered},
                     {"next_sample", position.order.next_sample},
                     {"draws", position.order.draws},
                     {"buffer", std::move(buffer)},
                     {"seen", position.counts.seen},
                     {"bad", position.counts.bad},
                     {"small", position.counts.small},
                     {"truncated", position.counts.truncated},
                     {"usable_in_epoch", std::max<int64_t>(0, position.usable_in_epoch)}};
  return json.dump();
}

LoaderPosition read_position(const std::string& text, const OrderIdentity& identity) {
  const Json json = parse_json<DataError>(text, kPlace);
  if (!json.is_object()) fail_position("a JSON object", json.type_name());
  if (read<int>(json, "version") != kVersion)
    fail_position("version " + std::to_string(kVersion), json["version"].dump());
  if (read<uint64_t>(json, "data_set") != identity.data_set) {
    fail_position("the tar shards of the saved run",
                  "other names or sizes (try the data set that it was started with)");
  }
  compare("seed", read<uint64_t>(json, "seed"), identity.seed);
  compare("shuffle", json.value("shuffle", Json()), Json(identity.shuffle));
  compare("shuffle buffer size", read<int64_t>(json, "shuffle_buffer_size"), identity.shuffle_buffer_size);

  LoaderPosition position;
  position.order.epoch = read<uint32_t>(json, "epoch");
  position.order.shards_entered = read<uint64_t>(json, "shards_entered");
  position.order.next_sample = read<uint64_t>(json, "next_sample");
  position.order.draws = read<uint64_t>(json, "draws");
  const Json buffer = json.value("buffer", Json());
  if (!buffer.is_array() || buffer.size() % 2 != 0) fail_position("a buffer of pairs", "something else");
  for (size_t i = 0; i < buffer.size(); i += 2) {
    if (!buffer[i].is_number_unsigned() || !buffer[i + 1].is_number_unsigned())
      fail_position("counts in the buffer", "others");
    const auto shard = buffer[i].get<uint64_t>(), sample = buffer[i + 1].get<uint64_t>();
    if (shard >= identity.num_shards || sample > std::numeric_limits<uint32_t>::max()) {
      fail_position("samples of the data set", std::to_string(shard) + ", " + std::to_string(sample));
    }
    position.order.buffer.push_back({static_cast<uint32_t>(shard), static_cast<uint32_t>(sample)});
  }
  if (position.order.shards_entered > identity.num_shards) {
    fail_position("at most " + std::to_string(identity.num_shards) + " shards entered",
                  std::to_string(position.order.shards_entered));
  }
  position.counts.seen = read<int64_t>(json, "seen");
  position.counts.bad = read<int64_t>(json, "bad");
  position.counts.small = read<int64_t>(json, "small");
  position.counts.truncated = read<int64_t>(json, "truncated");
  position.usable_in_epoch = read<int64_t>(json, "usable_in_epoch");
  return position;
}

}  // namespace millrace
