#include "tasks/earlier_checkpoint.h"

#include <filesystem>

#include "checkpoint/checkpoint_folder.h"

namespace millrace {

bool has_earlier_checkpoint(const RunConfig& config, Mesh& mesh, torch::Device device) {
  if (!config.checkpoint.enable) return false;
  const auto folder = std::filesystem::path(config.job.dump_folder) / config.checkpoint.folder;
  // Ranks on different machines may see different folders.
  const torch::Tensor found_1 = torch::full({1}, step_folders(folder).empty() ? 0 : 1, torch::kInt64).to(device);
  mesh.world().all_reduce(found_1, Reduce::kMax).wait();
  return found_1.item<int64_t>() != 0;
}

}  // namespace millrace
