#include "train/drawn_seed.h"

#include <filesystem>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "base/log.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/loaded_checkpoint.h"
#include "train/rank_peers.h"
#include "train/train_state.h"

namespace millrace {
namespace {

std::optional<int64_t> seed_of_checkpoint(const RunConfig& config) {
  const std::filesystem::path folder = std::filesystem::path(config.job.dump_folder) / config.checkpoint.folder;
  if (!config.checkpoint.enable || step_folders(folder).empty()) return std::nullopt;
  return seed_in_state(look_into_checkpoint(folder, config.checkpoint.load_step).state_json);
}

}  // namespace

int64_t drawn_seed(const RunConfig& config, Communicator& ranks) {
  const auto peers = make_peers(ranks);
  const auto choose = [&] {
    if (peers->rank() != 0) return std::string();
    const std::optional<int64_t> kept = seed_of_checkpoint(config);
    const int64_t seed = kept ? *kept : static_cast<int64_t>(std::random_device()());
    log_info("training.seed: ", seed,
             kept ? ", that of the checkpoint" : ", drawn for this run and kept in config.toml");
    return std::to_string(seed);
  };
  return std::stoll(
      peers->agree("draw the seed", choose, [](const std::vector<std::string>& answers) { return answers.front(); }));
}

}  // namespace millrace
