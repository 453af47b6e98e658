// Damaged files: every reader of formats/ either reads or throws one of the program's exceptions, within a bound on
// memory, whatever the bytes.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/crc32c.h"
#include "formats/inspect/inspect.h"
#include "formats/inspect/trace_events.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "formats/tar.h"
#include "formats/tensorboard.h"
#include "formats/weight_folder.h"
#include "memory_watch.h"
#include "mutator.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

std::span<const std::byte> as_bytes(const std::string& text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

// Every byte, so that a view out of bounds is seen by the sanitizer.
uint64_t touch(std::span<const std::byte> bytes) {
  return checksum64(bytes.data(), bytes.size());
}

void check_tensor(DType dtype, const std::vector<int64_t>& shape, std::span<const std::byte> bytes) {
  ASSERT_EQ(byte_count(dtype, shape), bytes.size());
  ASSERT_EQ(static_cast<uint64_t>(element_count(shape)) * size_of(dtype), bytes.size());
  touch(bytes);
}

// A file in memory with a name.
class MemoryFile {
 public:
  explicit MemoryFile(const std::string& text) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
    if (::write(descriptor_, text.data(), text.size()) != static_cast<ssize_t>(text.size())) std::abort();
  }
  ~MemoryFile() { ::close(descriptor_); }
  fs::path path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

// The report of `millrace inspect`, both ways.
void inspect(Report (*inspect_file)(const fs::path&, const InspectOptions&), const std::string& text) {
  const MemoryFile file(text);
  const Report report = inspect_file(file.path(), {.stats = true});
  ASSERT_FALSE(report.dump().empty()) << "JSON refuses text that is not UTF-8";
  for (const char c : report_text(report)) {
    ASSERT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << "a control character for the terminal";
  }
}

void read_safetensors(const std::string& text) {
  for (const TensorView& tensor : parse_safetensors(as_bytes(text), "fuzz").tensors) {
    ASSERT_TRUE(is_valid_utf8(tensor.name));
    check_tensor(tensor.dtype, tensor.shape, tensor.bytes);
  }
  inspect(inspect_weights, text);
}

void read_npy(const std::string& text) {
  const NpyArray array = parse_npy(as_bytes(text), "fuzz");
  check_tensor(array.dtype, array.shape, array.bytes);
  inspect(inspect_npy, text);
}

void read_index(const std::string& text) {
  for (const auto& [name, file] : parse_weight_map(text, "fuzz")) {
    ASSERT_EQ(fs::path(file).filename().string(), file) << "a shard's name that is a path";
    ASSERT_TRUE(ends_with(file, ".safetensors"));
  }
}

std::string as_record(const std::string& message) {
  const uint64_t length = message.size();
  std::string record(reinterpret_cast<const char*>(&length), sizeof length);
  const uint32_t length_crc = masked_crc32c(record), data_crc = masked_crc32c(message);
  record.append(reinterpret_cast<const char*>(&length_crc), sizeof length_crc);
  record += message;
  return record.append(reinterpret_cast<const char*>(&data_crc), sizeof data_crc);
}

void read_events(const std::string& text) {
  parse_events(text, "fuzz", [](const EventValue& value) { touch(as_bytes(value.tag)); });
  inspect(inspect_events, text);
}

// Past the checksums.
void read_event_message(const std::string& message) {
  read_events(as_record(message));
}

void read_trace(const std::string& text) {
  const Trace trace = parse_trace(text, "fuzz");
  for (const TraceEvent& event : trace.events) {
    ASSERT_LT(std::max(event.name, event.category), trace.names.size());
    ASSERT_LT(event.thread, trace.thread_count);
  }
  inspect(inspect_trace, text);
}

void read_tar(const std::string& text) {
  const MemoryFile file(text);
  constexpr uint64_t kMaxMemberBytes = 1 << 20;
  TarReader reader(file.path(), {.max_member_bytes = kMaxMemberBytes});
  std::string content;
  size_t members = 0;
  while (const auto entry = reader.next()) {
    ASSERT_LT(++members, text.size() / 512 + 2) << "more members than blocks";
    if (entry->size > kMaxMemberBytes) continue;
    reader.read(content);
    ASSERT_EQ(content.size(), entry->size);
  }
  inspect(inspect_tar, text);
}

std::string file_of(const std::function<void(const fs::path&)>& write) {
  const fs::path path = fs::temp_directory_path() / ("millrace-fuzz-" + std::to_string(::getpid()));
  write(path);
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  fs::remove(path);
  return text;
}

std::vector<std::string> safetensors_samples() {
  const std::vector<float> values(24, 1.5f);
  const std::span bytes = std::as_bytes(std::span(values));
  const std::vector<TensorView> tensors = {{"layer.0.weight", DType::kF32, {2, 3, 4}, bytes},
                                           {"layer.0.bias", DType::kBF16, {7}, bytes.first(14)},
                                           {"flag", DType::kBool, {}, bytes.first(1)},
                                           {"empty", DType::kI64, {0, 5}, {}},
                                           {"fp8 \xC3\xA9", DType::kF8E4M3, {5}, bytes.first(5)}};
  return {file_of([&](const fs::path& path) {
            write_safetensors(path, tensors, {{"format", "pt"}, {"k", "v\n"}});
          }),
          file_of([&](const fs::path& path) { write_safetensors(path, std::span(tensors).first(1)); }),
          file_of([&](const fs::path& path) { write_safetensors(path, {}); })};
}

std::vector<std::string> npy_samples() {
  const std::vector<float> values(24, 1.5f);
  const std::span bytes = std::as_bytes(std::span(values));
  const auto npy = [&](DType dtype, std::vector<int64_t> shape) {
    return file_of(
        [&](const fs::path& path) { write_npy(path, dtype, shape, bytes.first(*byte_count(dtype, shape))); });
  };
  return {npy(DType::kF32, {2, 3, 4}), npy(DType::kBF16, {5}), npy(DType::kU8, {}), npy(DType::kF64, {0, 3})};
}

std::vector<std::string> tar_samples() {
  const auto tar = [&](std::vector<std::pair<std::string, std::string>> members) {
    return file_of([&](const fs::path& path) {
      TarWriter writer(path);
      for (const auto& [name, content] : members) writer.add(name, content);
      writer.close();
    });
  };
  return {tar({{"000.png", std::string(700, 'p')}, {"000.txt", "a cat"}, {"001.json", "{}"}}),
          tar({{std::string(300, 'n') + ".txt", "long"}, {"\xF0\x9F\x98\x80.txt", "emoji"}, {"e", ""}})};
}

std::vector<std::string> event_samples() {
  const fs::path folder = fs::temp_directory_path() / ("millrace-fuzz-tb-" + std::to_string(::getpid()));
  std::string text;
  {
    EventWriter writer(folder);
    writer.start_session(3);
    writer.add_scalar("loss", 0.5, 3);
    writer.add_text("config", "x = 1", 3);
    std::ifstream file(writer.path(), std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(file), {});
  }
  fs::remove_all(folder);
  return {text};
}

std::vector<std::string> event_message_samples() {
  const std::string file = event_samples()[0];
  std::vector<std::string> messages;
  for (size_t at = 0; at < file.size();) {
    uint64_t length;
    std::memcpy(&length, file.data() + at, sizeof length);
    messages.push_back(file.substr(at + 12, length));
    at += 16 + length;
  }
  return messages;
}

struct Target {
  const char* name;
  int mutations;
  std::vector<std::string> (*samples)();
  void (*read)(const std::string&);
};

std::vector<std::string> index_samples() {
  return {R"({"metadata":{"total_size":123},"weight_map":{"a.weight":"model-00001-of-00002.safetensors",)"
          R"("b.weight":"model-00002-of-00002.safetensors"}})",
          R"({"weight_map":{}})"};
}

std::vector<std::string> trace_samples() {
  return {
      R"({"schemaVersion":1,"deviceProperties":[],"traceEvents":[{"ph":"X","cat":"cpu_op","name":"aten::mm","pid":7,)"
      R"("tid":"8","ts":1.5,"dur":20,"args":{"Input Dims":[[2,3],[]]}},{"ph":"M","name":"process_name","pid":7}]})",
      R"([{"ph":"X","name":"a","pid":1,"tid":1,"ts":0,"dur":1}])"};
}

class Damaged : public testing::TestWithParam<Target> {};

TEST_P(Damaged, FilesAreReadOrRefusedInBoundedMemory) {
  const Target& target = GetParam();
  set_log_level(LogLevel::kError);  // thousands of archives without an end mark
  const std::vector<std::string> samples = target.samples();
  for (const std::string& sample : samples) ASSERT_NO_THROW(target.read(sample)) << "the samples themselves are good";

  // The corpus grows by what could still be read, so that damage adds up.
  std::vector<std::string> corpus = samples;
  Mutator mutator(20240229);
  int refused = 0, accepted = 0;
  for (int i = 0; i < target.mutations; ++i) {
    const std::string text = mutator.mutate(corpus);
    const MemoryWatch watch;
    try {
      target.read(text);
      ++accepted;
      if (corpus.size() < 64 && text.size() < 1 << 16) corpus.push_back(text);
    } catch (const Error& error) {
      ++refused;
      ASSERT_GT(std::string(error.what()).size(), 10u);
    }
    ASSERT_FALSE(HasFatalFailure()) << target.name << " mutation " << i;
    // Four times the member limit of the tar reader; the others stay far below.
    ASSERT_LT(watch.peak_bytes(), (size_t{4} << 20) + 64 * text.size()) << target.name << " mutation " << i;
  }
  // C libraries do not ask operator new. A sanitizer's quarantine takes a quarter of this.
  EXPECT_LT(peak_resident_bytes(), size_t{1} << 30);
  // Both ways are taken, or nothing is tested.
  EXPECT_GT(refused, target.mutations / 20);
  EXPECT_GT(accepted, target.mutations / 100);
}

TEST_P(Damaged, EveryTruncationIsReadOrRefused) {
  const Target& target = GetParam();
  set_log_level(LogLevel::kError);
  for (const std::string& sample : target.samples()) {
    for (size_t size = 0; size < sample.size(); ++size) {
      try {
        target.read(sample.substr(0, size));
      } catch (const Error&) {
      }
      ASSERT_FALSE(HasFatalFailure()) << target.name << " cut to " << size;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, Damaged,
                         testing::Values(Target{"safetensors", 20000, safetensors_samples, read_safetensors},
                                         Target{"npy", 20000, npy_samples, read_npy},
                                         Target{"index", 20000, index_samples, read_index},
                                         Target{"trace", 20000, trace_samples, read_trace},
                                         Target{"events", 20000, event_samples, read_events},
                                         Target{"event_message", 20000, event_message_samples, read_event_message},
                                         Target{"tar", 10000, tar_samples, read_tar}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace millrace
