#include "tasks/result_folders.h"

#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <future>
#include <system_error>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "checkpoint/best_checkpoint.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/checkpoint_index.h"
#include "checkpoint/link_checkpoint.h"
#include "config/number_text.h"
#include "tasks/export_run.h"
#include "tasks/task_table.h"
#include "train/result_record.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

std::string prefix_of(ResultNaming naming) {
  return naming == ResultNaming::kEpochs ? "epoch_" : "step_";
}

// Of a folder's name; none: it is named otherwise.
std::optional<int64_t> number_in(const std::string& name, ResultNaming naming) {
  const std::string prefix = prefix_of(naming);
  if (!starts_with(name, prefix)) return std::nullopt;
  const auto number = parse_integer(name.substr(prefix.size()));
  const bool is_ours = number && *number >= 0 && prefix + std::to_string(*number) == name;
  return is_ours ? number : std::nullopt;
}

fs::path checkpoints_of(const RunConfig& config) {
  return fs::path(config.job.dump_folder) / config.checkpoint.folder;
}

// A folder that gets its name when it is complete; what had the name is deleted then.
class HiddenFolder {
 public:
  HiddenFolder(const fs::path& run, const std::string& name) : final_(run / name), path_(run / ("." + name + ".part")) {
    std::error_code error;
    fs::remove_all(path_, error);  // of a process that was killed
    if (error) throw StorageError(str("[", path_.string(), "] expected a free name, got: ", error.message()));
    create_folders(path_);
  }
  ~HiddenFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  HiddenFolder(const HiddenFolder&) = delete;
  HiddenFolder& operator=(const HiddenFolder&) = delete;

  const fs::path& path() const { return path_; }
  void commit() {
    fsync_folder(path_);
    std::error_code ignored, error;
    const bool replaces = fs::exists(fs::symlink_status(final_, ignored));
    const bool is_exchanged =
        replaces && ::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, final_.c_str(), RENAME_EXCHANGE) == 0;
    if (!is_exchanged) {  // some file systems cannot exchange names
      if (replaces) fs::remove_all(final_, ignored);
      fs::rename(path_, final_, error);
    }
    if (error) throw StorageError(str("[", final_.string(), "] expected a free name, got: ", error.message()));
    fsync_folder(final_.parent_path());
  }

 private:
  fs::path final_, path_;
};

// The adapters of a checkpoint and, without a whole model beside them, what else belongs to it.
void write_adapters(const RunConfig& config, const fs::path& checkpoint, const fs::path& folder, bool is_alone) {
  const OpenRunWeights run =
      open_run_weights(config.job.dump_folder, config, LoadedCheckpoint(checkpoint), WhichWeights::kBest);
  adapter_writer_of_task(config).write(config, run, folder, "", std::nullopt);
  if (is_alone) write_companion_files(config, run.shapes, folder);
}

void fill(const RunConfig& config, const fs::path& checkpoint, const fs::path& folder,
          std::function<bool()> is_cancelled) {
  std::optional<ExportOptions> whole = final_export_of_task(config);
  if (whole) {
    whole->checkpoint = checkpoint;
    whole->is_cancelled = std::move(is_cancelled);
    export_run(config.job.dump_folder, config, folder, *whole);
  }
  if (lora_of_task(config) != nullptr) write_adapters(config, checkpoint, folder, !whole);
}

// Weights are linked, small files copied: whoever edits one of those means that folder's.
void link_folder(const fs::path& from, const fs::path& to) {
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(from)) {
    const fs::path target = to / entry.path().lexically_relative(from);
    if (entry.is_directory()) {
      create_folders(target);
    } else if (entry.path().extension() == ".safetensors") {
      link_or_copy(entry.path(), target);
    } else {
      write_file_atomically(target, read_file(entry.path()));
    }
  }
}

}  // namespace

// Called by the thread of the step loop.
class ResultFolders::Writer {
 public:
  Writer(const RunConfig& config, ResultNaming naming) : config_(config.clone()), naming_(naming) {}
  ~Writer() { is_cancelled_ = true; }

  void begin(const SavedCheckpoint& saved) {
    const std::optional<std::string> name = result_folder_name(naming_, saved.step, saved.epoch);
    const fs::path run = config_->job.dump_folder;
    if (!name || (!saved.is_new && fs::exists(run / *name))) return;
    const fs::path copy = temporary_path(checkpoints_of(*config_), "result-" + *name);
    link_checkpoint(checkpoints_of(*config_), saved.step, copy);
    drop_surplus();
    auto is_dropped = std::make_shared<std::atomic<bool>>(false);
    auto is_over = thread_.submit([this, name = *name, copy, is_dropped] { write(name, copy, *is_dropped); });
    waiting_.push_back({std::move(is_over), std::move(is_dropped)});
  }
  void throw_if_failed() {
    const auto is_over = [](const Waiting& one) {
      return one.is_over.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
    };
    while (!waiting_.empty() && is_over(waiting_.front())) take_oldest();
  }
  void finish() {
    while (!waiting_.empty()) take_oldest();
  }
  void cancel() { is_cancelled_ = true; }

 private:
  struct Waiting {
    std::future<void> is_over;
    std::shared_ptr<std::atomic<bool>> is_dropped;
  };

  void take_oldest() {
    std::future<void> oldest = std::move(waiting_.front().is_over);
    waiting_.pop_front();
    oldest.get();
  }

  // Those that wait for so long that they would be deleted as soon as they are written.
  void drop_surplus() {
    const auto keep = static_cast<size_t>(config_->checkpoint.keep_latest_k);
    for (size_t i = 0; keep > 0 && i + keep <= waiting_.size(); ++i) *waiting_[i].is_dropped = true;
  }

  // On the thread of its own.
  void write(const std::string& name, const fs::path& checkpoint, const std::atomic<bool>& is_dropped) const {
    struct Remove {
      const fs::path& path;
      ~Remove() {
        std::error_code ignored;
        fs::remove_all(path, ignored);
      }
    } const remove{checkpoint};
    if (is_cancelled_ || is_dropped) return;
    write_result_folder(*config_, name, checkpoint, [this] { return is_cancelled_.load(); });
    remove_old_result_folders(config_->job.dump_folder, naming_, name, config_->checkpoint.keep_latest_k);
  }

  std::unique_ptr<RunConfig> config_;
  ResultNaming naming_;
  std::atomic<bool> is_cancelled_ = false;
  std::deque<Waiting> waiting_;
  ThreadPool thread_{1};
};

ResultFolders::ResultFolders(const RunConfig& config, ResultNaming naming)
    : writer_(std::make_unique<Writer>(config, naming)) {}
ResultFolders::~ResultFolders() = default;

void ResultFolders::finish() {
  writer_->finish();
}

std::unique_ptr<RunListener> ResultFolders::listener() {
  class Listener : public RunListener {
   public:
    explicit Listener(Writer& writer) : writer_(writer) {}
    std::string name() const override { return "result folders"; }
    void checkpoint_saved(const SavedCheckpoint& saved) override {
      if (!is_over_) writer_.begin(saved);
    }
    void step_ends(const StepMetrics&) override { writer_.throw_if_failed(); }
    void run_ends(RunEnd end) override {
      is_over_ = true;
      if (end == RunEnd::kStopped || end == RunEnd::kFailed) writer_.cancel();
    }

   private:
    Writer& writer_;
    bool is_over_ = false;
  };
  return std::make_unique<Listener>(*writer_);
}

std::optional<std::string> result_folder_name(ResultNaming naming, int64_t step, std::optional<int64_t> epoch) {
  if (naming == ResultNaming::kSteps) return str(prefix_of(naming), step);
  if (naming == ResultNaming::kEpochs && epoch) return str(prefix_of(naming), *epoch);
  return std::nullopt;
}

void write_result_folder(const RunConfig& config, const std::string& name, const fs::path& checkpoint,
                         std::function<bool()> is_cancelled) {
  HiddenFolder folder(config.job.dump_folder, name);
  fill(config, checkpoint, folder.path(), std::move(is_cancelled));
  folder.commit();
  log_info("for other programs: ", (fs::path(config.job.dump_folder) / name).string());
}

void write_last_result_folder(const RunConfig& config, ResultNaming naming) {
  const std::vector<int64_t> steps = checkpoint_steps(checkpoints_of(config));
  if (naming == ResultNaming::kNone || steps.empty()) return;
  const int64_t step = steps.back();
  const std::optional<int64_t> epoch = step == config.training.steps ? last_epoch_of_task(config) : std::nullopt;
  const std::optional<std::string> name = result_folder_name(naming, step, epoch);
  const fs::path run = config.job.dump_folder;
  if (!name || has_result(run, *name, step)) return;
  const fs::path checkpoint = checkpoints_of(config) / step_folder_name(step);
  if (!final_export_of_task(config)) {
    write_result_folder(config, *name, checkpoint);
  } else {
    HiddenFolder folder(run, *name);
    link_folder(run / "model", folder.path());
    if (lora_of_task(config) != nullptr) write_adapters(config, checkpoint, folder.path(), /*is_alone=*/false);
    folder.commit();
    log_info("for other programs: ", (run / *name).string());
  }
  note_result(run, *name, step, {run / *name});
  remove_old_result_folders(run, naming, *name, config.checkpoint.keep_latest_k);
}

void write_best_model(const RunConfig& config) {
  const fs::path checkpoints = checkpoints_of(config), best = checkpoints / kBestCheckpointName;
  const fs::path run = config.job.dump_folder;
  std::optional<ExportOptions> options = final_export_of_task(config);
  if (!config.checkpoint.keep_best || !options || !fs::exists(best)) return;
  const int64_t step = read_checkpoint_index(best / kCheckpointIndexName).step;
  if (has_result(run, "best/model", step)) return;
  HiddenFolder folder(run / "best", "model");
  const std::vector<int64_t> steps = checkpoint_steps(checkpoints);
  if (!steps.empty() && step == steps.back()) {
    link_folder(run / "model", folder.path());
  } else {
    options->checkpoint = best;
    export_run(run, config, folder.path(), *options);
  }
  folder.commit();
  note_result(run, "best/model", step, {run / "best" / "model"});
  log_info("the best model: ", (run / "best" / "model").string());
}

void remove_old_result_folders(const fs::path& run_folder, ResultNaming naming, const std::string& name, int64_t keep) {
  const std::optional<int64_t> newest = number_in(name, naming);
  if (keep <= 0 || !newest) return;
  std::vector<int64_t> older;
  std::error_code error;
  for (fs::directory_iterator entry(run_folder, error), end; !error && entry != end; entry.increment(error)) {
    const auto number = number_in(entry->path().filename().string(), naming);
    if (number && *number < *newest && entry->is_directory()) older.push_back(*number);
  }
  std::ranges::sort(older, std::greater());
  for (size_t i = static_cast<size_t>(keep) - 1; i < older.size(); ++i) {
    const fs::path old = run_folder / (prefix_of(naming) + std::to_string(older[i]));
    const fs::path doomed = run_folder / ("." + old.filename().string() + ".part");
    fs::rename(old, doomed, error);  // it is complete or absent
    if (!error) fs::remove_all(doomed, error);
    if (error) log_warning("[", old.string(), "] could not be deleted: ", error.message());
  }
}

}  // namespace millrace
