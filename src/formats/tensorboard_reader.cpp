#include <cstring>

#include "base/error.h"
#include "base/log.h"
#include "formats/crc32c.h"
#include "formats/protobuf.h"
#include "formats/tensorboard.h"

namespace millrace {
namespace {

constexpr size_t kLengthBytes = 8, kCrcBytes = 4;

template <typename Int>
Int load(std::string_view bytes) {
  Int value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

EventValue parse_value(std::string_view message, bool& damaged) {
  EventValue value;
  ProtoReader reader(message);
  while (const auto field = reader.next()) {
    if (field->number == 1 && field->type == WireType::kBytes) value.tag = field->bytes;
    if (field->number == 2 && field->type == WireType::kFixed32) {
      value.kind = EventValue::Kind::kScalar;
      value.scalar = static_cast<double>(field->as_float());
    }
    if (field->number == 4 && field->type == WireType::kBytes) value.kind = EventValue::Kind::kImage;
    if (field->number == 9 && field->type == WireType::kBytes) {
      ProtoReader metadata(field->bytes);
      const auto plugin = metadata.next();
      ProtoReader plugin_data(plugin ? plugin->bytes : std::string_view());
      const auto name = plugin_data.next();
      if (name && name->bytes == "text") value.kind = EventValue::Kind::kText;
    }
  }
  damaged = damaged || reader.damaged();
  return value;
}

// False when the message is not well formed.
bool parse_event(std::string_view message, const std::function<void(const EventValue&)>& visit) {
  double wall_time = 0;
  int64_t step = 0;
  bool damaged = false;
  ProtoReader event(message);
  while (const auto field = event.next()) {
    if (field->number == 1 && field->type == WireType::kFixed64) wall_time = field->as_double();
    if (field->number == 2 && field->type == WireType::kVarint) step = static_cast<int64_t>(field->bits);
    if (field->number != 5 || field->type != WireType::kBytes) continue;
    ProtoReader summary(field->bytes);
    while (const auto entry = summary.next()) {
      if (entry->number != 1 || entry->type != WireType::kBytes) continue;
      EventValue value = parse_value(entry->bytes, damaged);
      value.wall_time = wall_time;
      value.step = step;
      visit(value);
    }
    damaged = damaged || summary.damaged();
  }
  return !damaged && !event.damaged();
}

}  // namespace

EventFileEnd parse_events(std::string_view bytes, std::string_view place,
                          const std::function<void(const EventValue&)>& visit) {
  EventFileEnd end;
  uint64_t position = 0;
  const auto fail = [&](const char* expected, const char* got) {
    throw DataError(str("[", place, ", byte ", position, "] expected ", expected, ", got ", got));
  };
  while (position < bytes.size()) {
    const std::string_view record = bytes.substr(position);
    if (record.size() < kLengthBytes + kCrcBytes) {
      end.is_cut_short = true;
      break;
    }
    if (load<uint32_t>(record.substr(kLengthBytes)) != masked_crc32c(record.substr(0, kLengthBytes))) {
      fail("a record of an event file", position == 0 ? "other bytes" : "a length with a wrong checksum");
    }
    const uint64_t length = load<uint64_t>(record);
    const std::string_view after_length = record.substr(kLengthBytes + kCrcBytes);
    if (after_length.size() < kCrcBytes || length > after_length.size() - kCrcBytes) {
      end.is_cut_short = true;
      break;
    }
    const std::string_view data = after_length.substr(0, length);
    if (load<uint32_t>(after_length.substr(length)) != masked_crc32c(data)) fail("intact data", "a wrong checksum");
    if (!parse_event(data, visit)) fail("a tensorflow.Event message", "something else");
    position += kLengthBytes + kCrcBytes + length + kCrcBytes;
    ++end.records;
  }
  return end;
}

EventFileEnd read_events(const std::filesystem::path& path, const std::function<void(const EventValue&)>& visit) {
  const MappedFile map(path);
  const std::string_view bytes(reinterpret_cast<const char*>(map.bytes().data()), map.bytes().size());
  return parse_events(bytes, path.string(), visit);
}

}  // namespace millrace
