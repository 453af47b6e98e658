// load_checkpoint: finds the step, and the way out when it is damaged.
#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/loaded_checkpoint.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// The newest checkpoint below `step` that can be loaded, or -1.
int64_t newest_complete_below(const fs::path& folder, int64_t step) {
  std::vector<int64_t> steps = checkpoint_steps(folder);
  for (auto other = steps.rbegin(); other != steps.rend(); ++other) {
    if (*other >= step) continue;
    try {
      LoadedCheckpoint{folder / step_folder_name(*other)};
      return *other;
    } catch (const Error&) {  // damaged as well
    }
  }
  return -1;
}

std::string list_steps(const std::vector<int64_t>& steps) {
  std::string text;
  const size_t first = steps.size() > 10 ? steps.size() - 10 : 0;
  for (size_t i = first; i < steps.size(); ++i) text += (text.empty() ? "" : ", ") + std::to_string(steps[i]);
  return text;
}

int64_t choose_step(const fs::path& folder, int64_t step) {
  const std::vector<int64_t> steps = checkpoint_steps(folder);
  if (steps.empty()) throw StorageError(str("[", folder.string(), "] expected a checkpoint, got none"));
  if (step < 0) step = steps.back();
  if (!std::binary_search(steps.begin(), steps.end(), step)) {
    throw StorageError(str("[", folder.string(), "] expected a checkpoint of step ", step, ", got steps ",
                           list_steps(steps), " (try --checkpoint.load_step=", steps.back(), ")"));
  }
  return step;
}

std::string way_out(const fs::path& folder, int64_t step) {
  const int64_t other = newest_complete_below(folder, step);
  if (other < 0) return "there is no complete one before it; remove the folder to start anew";
  return str("try --checkpoint.load_step=", other, ", the newest complete one before it");
}

// What rank 0 finds out, on every rank.
std::string from_rank_0(Peers& peers, const std::string& topic, const std::function<std::string()>& find) {
  return peers.agree(
      topic, [&] { return peers.rank() == 0 ? find() : std::string(); },
      [](const std::vector<std::string>& answers) { return answers.front(); });
}

}  // namespace

LoadedCheckpoint load_checkpoint(const fs::path& folder, int64_t step) {
  return load_checkpoint(folder, step, std::make_shared<Peers>(), "");
}

LoadedCheckpoint load_checkpoint(const fs::path& folder, int64_t step, std::shared_ptr<Peers> peers,
                                 const std::string& topic) {
  step = std::stoll(from_rank_0(*peers, topic + "/step", [&] { return std::to_string(choose_step(folder, step)); }));
  const fs::path step_folder = folder / step_folder_name(step);
  try {
    LoadedCheckpoint loaded(step_folder, peers, topic);
    if (loaded.step() == step) return loaded;
    throw StorageError(
        str("[", (step_folder / kCheckpointIndexName).string(), "] expected step ", step, ", got ", loaded.step()));
  } catch (const SilentRankError&) {
    throw;
  } catch (const Error& error) {
    const std::string offer = from_rank_0(*peers, topic + "/offer", [&] { return way_out(folder, step); });
    throw StorageError(str(error.what(), ": the checkpoint of step ", step, " is damaged (", offer, ")"));
  }
}

}  // namespace millrace
