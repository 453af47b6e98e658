#include "formats/inspect/inspect.h"

#include <fnmatch.h>

#include <array>
#include <fstream>

#include "base/error.h"
#include "base/folder_walk.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/gguf.h"
#include "formats/pickle.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr size_t kHeadBytes = 1 << 16;

bool has_events_name(const std::string& name) {
  return starts_with(name, "events.out.tfevents.");
}

std::string first_bytes(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string head(kHeadBytes, '\0');
  file.read(head.data(), static_cast<std::streamsize>(head.size()));
  head.resize(static_cast<size_t>(file.gcount()));
  return head;
}

[[noreturn]] void fail(const fs::path& path, const std::string& got) {
  throw DataError(
      str("[", path.string(),
          "] expected a safetensors file or index, a GGUF file, a checkpoint, a tar shard or a folder of ",
          "shards, an Arrow file or a folder of `datasets`, a profiler trace, an .npy or an event file, got ", got));
}

FileKind kind_of_json(const fs::path& path, const std::string& head) {
  const std::string name = path.filename().string();
  if (ends_with(name, ".safetensors.index.json") || head.find("\"weight_map\"") != std::string::npos) {
    return FileKind::kWeights;
  }
  if (name == "index.json" && head.find("millrace checkpoint") != std::string::npos) return FileKind::kCheckpoint;
  if (starts_with(trim(head), "[") || head.find("\"traceEvents\"") != std::string::npos ||
      head.find("\"schemaVersion\"") != std::string::npos) {
    return FileKind::kTrace;
  }
  fail(path, "other JSON");
}

FileKind kind_of_content(const fs::path& path, const std::string& head) {
  if (has_pickle_content(head)) refuse_pickle(path);
  if (starts_with(head, kGgufMagic)) return FileKind::kWeights;
  if (starts_with(head, "\x93NUMPY")) return FileKind::kNpy;
  if (head.size() > 262 && head.compare(257, 5, "ustar") == 0) return FileKind::kTar;
  // Arrow's file format, or a stream's continuation mark.
  if (starts_with(head, "ARROW1") || starts_with(head, "\xFF\xFF\xFF\xFF")) return FileKind::kArrow;
  if (starts_with(head, "\x1F\x8B") || starts_with(head, "\x28\xB5\x2F\xFD")) return FileKind::kTar;
  if (head.size() > 8 && head[8] == '{' && head[7] == '\0' && head[6] == '\0') return FileKind::kWeights;
  const std::string_view text = trim(head);
  if (starts_with(text, "{") || starts_with(text, "[")) return kind_of_json(path, head);
  fail(path, head.empty() ? "an empty file" : "something else");
}

FileKind kind_of_folder(const fs::path& path) {
  bool has_weights = false, has_events = false, has_steps = false, has_arrow = false;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (starts_with(name, ".")) continue;
    if (name == "index.json" || name == "checkpoint") return FileKind::kCheckpoint;
    has_steps = has_steps || starts_with(name, "step-");
    has_weights = has_weights || ends_with(name, ".safetensors") || ends_with(name, ".safetensors.index.json") ||
                  ends_with(name, ".gguf");
    has_events = has_events || has_events_name(name);
    has_arrow = has_arrow || ends_with(name, ".arrow") || name == "dataset_dict.json";
  }
  if (has_steps) return FileKind::kCheckpoint;
  if (has_weights) return FileKind::kWeights;
  if (has_events) return FileKind::kEvents;
  if (has_arrow) return FileKind::kArrowDataSet;
  const FolderWalk walk = walk_folder(
      path, [](std::string_view name) { return has_tar_name(name) ? NameKind::kWanted : NameKind::kOther; });
  if (!walk.files.empty()) return FileKind::kDataSet;
  if (walk.passed_over.count() > 0) fail(path, "a folder without any; passed over: " + walk.passed_over.text());
  fail(path, "a folder without any");
}

}  // namespace

bool has_tar_name(std::string_view name) {
  return ends_with(name, ".tar") || ends_with(name, ".tar.gz") || ends_with(name, ".tgz") ||
         ends_with(name, ".tar.zst");
}

bool InspectOptions::is_wanted(const std::string& name) const {
  return names.empty() || ::fnmatch(names.c_str(), name.c_str(), 0) == 0;
}

FileKind detect_file_kind(const fs::path& path) {
  std::error_code error;
  if (!fs::exists(path, error)) fail(path, "nothing of that name");
  if (fs::is_directory(path)) return kind_of_folder(path);
  if (!fs::is_regular_file(path)) fail(path, "something other than a regular file");
  if (std::ifstream(path).fail())
    throw StorageError(str("[", path.string(), "] expected a file that can be read, got none"));
  const std::string name = path.filename().string();
  if (has_pickle_extension(path)) refuse_pickle(path);
  if (ends_with(name, ".safetensors") || ends_with(name, ".gguf")) return FileKind::kWeights;
  if (ends_with(name, ".npy")) return FileKind::kNpy;
  if (has_tar_name(name)) return FileKind::kTar;
  if (ends_with(name, ".arrow")) return FileKind::kArrow;
  if (has_events_name(name)) return FileKind::kEvents;
  return kind_of_content(path, first_bytes(path));
}

}  // namespace millrace
