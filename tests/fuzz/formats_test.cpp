// Damaged files: every reader of formats/ either reads or throws one of the program's exceptions, within a bound on
// memory, whatever the bytes.
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/text.h"
#include "damaged_files.h"
#include "formats/crc32c.h"
#include "formats/gguf.h"
#include "formats/gguf_test_support.h"
#include "formats/gguf_tokenizer.h"
#include "formats/inspect/inspect.h"
#include "formats/inspect/trace_events.h"
#include "formats/json_cast.h"
#include "formats/npy.h"
#include "formats/read_python_json.h"
#include "formats/safetensors.h"
#include "formats/tar.h"
#include "formats/tensorboard.h"
#include "formats/weight_folder.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

void check_tensor(DType dtype, const std::vector<int64_t>& shape, std::span<const std::byte> bytes) {
  ASSERT_EQ(byte_count(dtype, shape), bytes.size());
  ASSERT_EQ(static_cast<uint64_t>(element_count(shape)) * size_of(dtype), bytes.size());
  touch(bytes);
}

void read_safetensors(const std::string& text) {
  for (const TensorView& tensor : parse_safetensors(as_bytes(text), "fuzz").tensors) {
    ASSERT_TRUE(is_valid_utf8(tensor.name));
    check_tensor(tensor.dtype, tensor.shape, tensor.bytes);
  }
  check_report(inspect_weights, text);
}

void read_gguf(const std::string& text) {
  const GgufContent content = parse_gguf(as_bytes(text), "fuzz");
  for (const TensorView& tensor : content.tensors) {
    ASSERT_TRUE(is_valid_utf8(tensor.name));
    ASSERT_EQ(stored_byte_count(tensor), tensor.bytes.size());
    touch(tensor.bytes);
  }
  for (const auto& [key, value] : content.metadata.values()) {
    if (value.is_array && value.type == GgufType::kString) {
      const auto strings = content.metadata.strings(key).value();
      for (const std::string_view string : strings) touch(std::as_bytes(std::span(string)));
    }
    touch(value.bytes);
  }
  (void)content.metadata.as_text();
  (void)gguf_tokenizer(content.metadata, "fuzz");
  check_report(inspect_weights, text);
}

void read_npy(const std::string& text) {
  const NpyArray array = parse_npy(as_bytes(text), "fuzz");
  check_tensor(array.dtype, array.shape, array.bytes);
  check_report(inspect_npy, text);
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
  check_report(inspect_events, text);
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
  check_report(inspect_trace, text);
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
  check_report(inspect_tar, text);
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

std::vector<std::string> gguf_samples() {
  GgufText blocks;
  blocks.string("general.architecture", "test").strings("tokens", {"a", "bc", ""});
  blocks.number("n", GgufType::kUint64, uint64_t{7}).number("x", GgufType::kFloat32, 0.5f);
  blocks.number("general.alignment", GgufType::kUint32, 32u);
  blocks.tensor("a", {32, 2}, 3, 0).tensor("b", {256}, 14, 64).tensor("c", {3}, 1, 288);
  GgufText llama(2);
  llama.string("general.architecture", "llama").number("llama.attention.head_count", GgufType::kUint32, 2u);
  for (const char* key : {"embedding_length", "feed_forward_length", "block_count", "context_length"}) {
    llama.number(std::string("llama.") + key, GgufType::kUint32, 8u);
  }
  llama.number("llama.attention.layer_norm_rms_epsilon", GgufType::kFloat32, 1e-5f);
  llama.tensor("token_embd.weight", {8, 3}, 0, 0).tensor("blk.0.attn_q.weight", {8, 8}, 30, 96);
  llama.tensor("rope_freqs.weight", {2}, 0, 224);
  std::string text = llama.file(224);
  const float ones[2] = {1, 1};
  text.append(reinterpret_cast<const char*>(ones), sizeof ones);
  GgufText words;
  words.string("tokenizer.ggml.model", "gpt2").string("tokenizer.ggml.pre", "smollm");
  words.strings("tokenizer.ggml.tokens", {"a", "b", "ab"}).strings("tokenizer.ggml.merges", {"a b"});
  words.integers("tokenizer.ggml.token_type", {1, 1, 3});
  words.number("tokenizer.ggml.eos_token_id", GgufType::kUint32, 2u);
  return {blocks.file(320), text, words.file(0), GgufText().file(0)};
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

// Values that a column may have, and a type found from each.
void read_sidecar(const std::string& text) {
  nlohmann::ordered_json value = parse_python_json(text, "fuzz");
  python_json_member(text, "caption", "fuzz");
  const JsonType type = json_type_of(value, "fuzz");
  cast_json(value, type);
  check_json_fits(value, type, "fuzz");
}

std::vector<std::string> sidecar_samples() {
  return {R"({"caption": "a \ud83d\ude00", "size": [640, 480.5, -1e-3], "exif": {"a": null, "b": true}, "p": NaN})",
          "\xEF\xBB\xBF[1, 18446744, -Infinity]", std::string("\xFF\xFE[\0001\0]\0", 8)};
}

class Damaged : public testing::TestWithParam<FuzzTarget> {};

TEST_P(Damaged, FilesAreReadOrRefusedInBoundedMemory) {
  fuzz_mutations(GetParam());
}

TEST_P(Damaged, EveryTruncationIsReadOrRefused) {
  fuzz_truncations(GetParam());
}

INSTANTIATE_TEST_SUITE_P(Formats, Damaged,
                         testing::Values(FuzzTarget{"safetensors", 20000, safetensors_samples, read_safetensors},
                                         FuzzTarget{"gguf", 20000, gguf_samples, read_gguf},
                                         FuzzTarget{"npy", 20000, npy_samples, read_npy},
                                         FuzzTarget{"index", 20000, index_samples, read_index},
                                         FuzzTarget{"trace", 20000, trace_samples, read_trace},
                                         FuzzTarget{"events", 20000, event_samples, read_events},
                                         FuzzTarget{"event_message", 20000, event_message_samples, read_event_message},
                                         FuzzTarget{"sidecar", 20000, sidecar_samples, read_sidecar},
                                         FuzzTarget{"tar", 10000, tar_samples, read_tar}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace millrace
