// Event files for TensorBoard: TFRecords of tensorflow.Event messages, encoded by hand.
// https://github.com/tensorflow/tensorboard/tree/master/tensorboard/compat/proto (event.proto, summary.proto)
//
// Written as torch.utils.tensorboard writes them: scalars as simple_value, pictures as image, text as a string tensor.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/files.h"

namespace millrace {

// Each add_* is one record and one system call, and survives a crash of the program. Not thread-safe.
// Failures are StorageErrors.
class EventWriter {
 public:
  // Makes folder/events.out.tfevents.<seconds>.<host>.<process>.<n>. TensorBoard shows all of a folder's files together
  // and reads them in the order of their names: the seconds are those since 1970 or, if the clock has not advanced
  // since the last name there, one more than in that name.
  explicit EventWriter(const std::filesystem::path& folder);

  // Tells TensorBoard to forget what earlier files of the folder hold at this step and later: for a resumed run.
  void start_session(int64_t step);
  void add_scalar(std::string_view tag, double value, int64_t step);
  // png: a whole PNG file; throws DataError for anything else.
  void add_image(std::string_view tag, std::string_view png, int64_t step);
  void add_text(std::string_view tag, std::string_view markdown, int64_t step);

  void close() { writer_.close(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  void add_value(std::string_view value_message, int64_t step);
  void add_event(std::string_view fields);

  std::filesystem::path path_;
  FileWriter writer_;
};

// What an event file holds, one entry per value of a summary.
struct EventValue {
  enum class Kind { kScalar, kImage, kText, kOther };
  Kind kind = Kind::kOther;
  std::string tag;
  int64_t step = 0;
  double wall_time = 0;  // seconds since 1970
  double scalar = 0;
};

struct EventFileEnd {
  uint64_t records = 0;
  bool is_cut_short = false;  // the last record is incomplete: the run is still writing, or was killed
};

// Calls visit for every value. Throws DataError for records whose checksum is wrong, StorageError for unreadable files.

EventFileEnd read_events(const std::filesystem::path& path, const std::function<void(const EventValue&)>& visit);
EventFileEnd parse_events(std::string_view bytes, std::string_view place,
                          const std::function<void(const EventValue&)>& visit);

}  // namespace millrace
