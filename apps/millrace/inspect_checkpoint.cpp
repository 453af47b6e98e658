#include "inspect_checkpoint.h"

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/loaded_checkpoint.h"
#include "formats/inspect/stats_report.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct Chosen {
  fs::path folder;             // of one step
  std::vector<int64_t> steps;  // all with an index, if there were several
  LoadedCheckpoint checkpoint;
};

Chosen open_step(const fs::path& path) {
  const auto one = [](const fs::path& folder) { return Chosen{folder, {}, LoadedCheckpoint(folder)}; };
  if (fs::is_regular_file(path)) return one(path.parent_path().empty() ? "." : path.parent_path());
  if (is_step_folder(path) || fs::exists(path / kCheckpointIndexName)) return one(path);
  const fs::path folder = fs::is_directory(path / "checkpoint") ? path / "checkpoint" : path;
  if (step_folders(folder).empty()) {
    throw StorageError(str("[", folder.string(), "] expected a checkpoint, got no step-* folder"));
  }
  LoadedCheckpoint newest = load_checkpoint(folder, -1, AskForStep::kByPath);
  return {folder / step_folder_name(newest.step()), checkpoint_steps(folder), std::move(newest)};
}

}  // namespace

bool is_step_folder(const fs::path& path) {
  const fs::path named = fs::absolute(path / "").lexically_normal().parent_path();
  return fs::is_directory(path) && parse_step_folder(named.filename().string()) >= 0;
}

Report inspect_checkpoint(const fs::path& path, const InspectOptions& options) {
  const Chosen chosen = open_step(path);
  const LoadedCheckpoint& checkpoint = chosen.checkpoint;
  const auto pool = stats_pool(options);
  Report tensors = Report::array();
  uint64_t elements = 0, bytes = 0;
  for (const auto& [name, tensor] : checkpoint.tensors()) {
    if (!options.is_wanted(name)) continue;
    const auto count = static_cast<uint64_t>(element_count(tensor.shape));
    elements += count;
    bytes += count * size_of(tensor.dtype);
    Report entry = {{"name", name},
                    {"dtype", dtype_name(tensor.dtype)},
                    {"shape", tensor.shape},
                    {"bytes", count * size_of(tensor.dtype)},
                    {"piece_count", tensor.pieces.size()}};
    if (options.stats) {
      const torch::Tensor whole = checkpoint.tensor(name).contiguous();
      entry["stats"] = stats_report(tensor.dtype, to_view(name, whole).bytes, pool.get());
    }
    tensors.push_back(std::move(entry));
  }
  return {{"kind", "checkpoint"},
          {"path", path.string()},
          {"folder", chosen.folder.string()},
          {"step", checkpoint.step()},
          {"world_size", checkpoint.world_size()},
          {"steps", chosen.steps},
          {"checksums", "verified"},
          {"listed_count", tensors.size()},
          {"element_count", elements},
          {"bytes", bytes},
          {"tensors", std::move(tensors)}};
}

}  // namespace millrace
