#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <system_error>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/crc32c.h"
#include "formats/protobuf.h"
#include "formats/tensorboard.h"

namespace millrace {
namespace {

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

constexpr std::string_view kNameStart = "events.out.tfevents.";

// The largest time in the names of the folder's event files; 0 if there are none.
int64_t last_seconds_in(const std::filesystem::path& folder) {
  int64_t last = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (!starts_with(name, kNameStart)) continue;
    int64_t seconds = 0;
    std::from_chars(name.data() + kNameStart.size(), name.data() + name.size(), seconds);
    // A name of another length would not sort by its number.
    if (std::to_string(seconds).size() <= 10) last = std::max(last, seconds);
  }
  return last;
}

std::filesystem::path new_event_file(const std::filesystem::path& folder) {
  static std::atomic<int> counter{0};
  create_folders(folder);
  char host[256] = "localhost";
  ::gethostname(host, sizeof host - 1);
  // Within one second the process number affects the order, and 9999 sorts after 10000.
  const int64_t seconds = std::max(static_cast<int64_t>(seconds_since_1970()), last_seconds_in(folder) + 1);
  return folder / str(kNameStart, seconds, ".", host, ".", ::getpid(), ".", counter++);
}

uint32_t big_endian32(std::string_view bytes) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

EventWriter::EventWriter(const std::filesystem::path& folder) : path_(new_event_file(folder)), writer_(path_) {
  ProtoWriter event;
  event.bytes(3, "brain.Event:2");  // file_version
  add_event(event.text());
}

void EventWriter::start_session(int64_t step) {
  ProtoWriter session, event;
  session.varint(1, 1);  // status: START
  event.varint(2, static_cast<uint64_t>(step)).bytes(7, session.text());
  add_event(event.text());
}

void EventWriter::add_scalar(std::string_view tag, double value, int64_t step) {
  ProtoWriter message;
  message.bytes(1, tag).fixed32(2, static_cast<float>(value));  // simple_value
  add_value(message.text(), step);
}

void EventWriter::add_image(std::string_view tag, std::string_view png, int64_t step) {
  // Signature, then the IHDR chunk: length, type, width, height.
  if (!starts_with(png, "\x89PNG\r\n\x1a\n") || png.size() < 24 || png.substr(12, 4) != "IHDR") {
    throw DataError(str("[image ", tag, "] expected a PNG file, got ", png.size(), " other bytes"));
  }
  ProtoWriter image, message;
  image.varint(1, big_endian32(png.substr(20))).varint(2, big_endian32(png.substr(16)));
  image.varint(3, 3).bytes(4, png);  // colour space: RGB
  message.bytes(1, tag).bytes(4, image.text());
  add_value(message.text(), step);
}

void EventWriter::add_text(std::string_view tag, std::string_view markdown, int64_t step) {
  ProtoWriter dim, shape, tensor, plugin, metadata, message;
  dim.varint(1, 1);
  shape.bytes(2, dim.text());
  tensor.varint(1, 7).bytes(2, shape.text()).bytes(8, markdown);  // DT_STRING [1]
  plugin.bytes(1, "text");
  metadata.bytes(1, plugin.text());
  message.bytes(1, tag).bytes(8, tensor.text()).bytes(9, metadata.text());
  add_value(message.text(), step);
}

void EventWriter::add_value(std::string_view value_message, int64_t step) {
  ProtoWriter summary, event;
  summary.bytes(1, value_message);
  event.varint(2, static_cast<uint64_t>(step)).bytes(5, summary.text());
  add_event(event.text());
}

void EventWriter::add_event(std::string_view fields) {
  ProtoWriter event;
  event.fixed64(1, seconds_since_1970());
  const std::string data = event.text() + std::string(fields);
  // TFRecord: length, its checksum, data, its checksum.
  const uint64_t length = data.size();
  std::string record(reinterpret_cast<const char*>(&length), sizeof length);
  const uint32_t length_crc = masked_crc32c(record), data_crc = masked_crc32c(data);
  record.append(reinterpret_cast<const char*>(&length_crc), sizeof length_crc);
  record += data;
  record.append(reinterpret_cast<const char*>(&data_crc), sizeof data_crc);
  writer_.write(record);
}

}  // namespace millrace
