// load_checkpoint: finds the step, and suggests an alternative when it is damaged.
#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "checkpoint/best_checkpoint.h"
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
    } catch (const Error&) {  // also damaged
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

std::string name_of_step(const fs::path& folder, int64_t step, AskForStep ask) {
  switch (ask) {
    case AskForStep::kByLoadStep:
      return str("--checkpoint.load_step=", step);
    case AskForStep::kByStep:
      return str("--step=", step);
    case AskForStep::kByPath:
      return (folder / step_folder_name(step)).string();
  }
  MILLRACE_CHECK(false);
}

// Includes folders without an index: what looks like the newest checkpoint is not skipped for an older one.
int64_t choose_step(const fs::path& folder, int64_t step, AskForStep ask) {
  const std::vector<StepFolder> found = step_folders(folder);
  if (found.empty()) throw StorageError(str("[", folder.string(), "] expected a checkpoint, got none"));
  if (step < 0) step = found.back().step;
  const bool exists = std::any_of(found.begin(), found.end(), [&](const StepFolder& f) { return f.step == step; });
  if (!exists) {
    const std::vector<int64_t> steps = checkpoint_steps(folder);
    throw StorageError(str("[", folder.string(), "] expected a checkpoint of step ", step, ", got steps ",
                           list_steps(steps),
                           steps.empty() ? "" : " (try " + name_of_step(folder, steps.back(), ask) + ")"));
  }
  return step;
}

void warn_of_incomplete(const fs::path& folder, int64_t chosen) {
  for (const StepFolder& found : step_folders(folder)) {
    if (found.has_index || found.step == chosen) continue;
    log_warning("[", (folder / step_folder_name(found.step)).string(), "] expected ", kCheckpointIndexName,
                ", got none: not a complete checkpoint; it is neither loaded nor deleted (remove or rename it)");
  }
}

std::string way_out(const fs::path& folder, int64_t step, AskForStep ask) {
  const int64_t other = newest_complete_below(folder, step);
  const std::string remove = "remove or rename " + (folder / step_folder_name(step)).string();
  if (other < 0) return "there is no complete one before it; " + remove + " to start over";
  return str("try ", name_of_step(folder, other, ask), ", the newest complete one before it, or ", remove);
}

[[noreturn]] void throw_damaged(const std::string& what, int64_t step, const std::string& offer) {
  throw StorageError(str(what, ": the checkpoint of step ", step, " is damaged (", offer, ")"));
}

// Rank 0's result, on every rank.
std::string from_rank_0(Peers& peers, const std::string& topic, const std::function<std::string()>& find) {
  return peers.agree(
      topic, [&] { return peers.rank() == 0 ? find() : std::string(); },
      [](const std::vector<std::string>& answers) { return answers.front(); });
}

}  // namespace

LoadedCheckpoint load_checkpoint(const fs::path& folder, int64_t step, AskForStep ask) {
  return load_checkpoint(folder, step, std::make_shared<Peers>(), "", ask);
}

LoadedCheckpoint load_checkpoint(const fs::path& folder, int64_t step, std::shared_ptr<Peers> peers,
                                 const std::string& topic, AskForStep ask) {
  if (step == kBestStep) {
    const fs::path best = folder / kBestCheckpointName;
    const std::string is_there =
        from_rank_0(*peers, topic + "/best", [&] { return fs::exists(best) ? std::string("yes") : std::string(); });
    if (is_there.empty()) {
      throw StorageError(
          str("[", best.string(), "] expected the best checkpoint, got none (checkpoint.keep_best keeps it)"));
    }
    return LoadedCheckpoint(best, std::move(peers), topic);
  }
  step = std::stoll(from_rank_0(*peers, topic + "/step", [&] {
    const int64_t chosen = choose_step(folder, step, ask);
    warn_of_incomplete(folder, chosen);
    return std::to_string(chosen);
  }));
  const fs::path step_folder = folder / step_folder_name(step);
  try {
    LoadedCheckpoint loaded(step_folder, peers, topic);
    if (loaded.step() == step) return loaded;
    throw StorageError(
        str("[", (step_folder / kCheckpointIndexName).string(), "] expected step ", step, ", got ", loaded.step()));
  } catch (const SilentRankError&) {
    throw;
  } catch (const Error& error) {
    throw_damaged(error.what(), step,
                  from_rank_0(*peers, topic + "/offer", [&] { return way_out(folder, step, ask); }));
  }
}

CheckpointIndex look_into_checkpoint(const fs::path& folder, int64_t step, AskForStep ask) {
  step = choose_step(folder, step, ask);
  const fs::path step_folder = folder / step_folder_name(step);
  const std::string problem = missing_part(step_folder);
  if (!problem.empty()) throw_damaged(problem, step, way_out(folder, step, ask));
  return read_checkpoint_index(step_folder / kCheckpointIndexName);
}

}  // namespace millrace
