#include "download/download_plan.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "download/part_note.h"
#include "download/safe_path.h"

namespace millrace {
namespace {

// HEAD requests at a time: they cost a round trip each and no bandwidth.
constexpr int kParallelSizeQueries = 16;
// A file up to this size is read rather than trusted.
constexpr uint64_t kQuickBytes = 16 << 20;
constexpr size_t kReadBytes = 1 << 20;

// The checksum of an existing file; nullopt when asked to stop.
std::optional<Checksum> checksum_of(const Folder& root, const RemoteFile& file, uint64_t size,
                                    const std::atomic<bool>& stopping) {
  const Folder folder = *root.parent_of(file.path, false);
  const Descriptor descriptor = folder.open_file(file_name_of(file.path), O_RDONLY);
  ChecksumStream checksum(file.checksum.kind, size);
  std::vector<std::byte> buffer(kReadBytes);
  while (!stopping) {
    const ssize_t count = ::read(descriptor.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      throw StorageError(
          str("[", (root.path() / file.path).string(), "] expected a readable file, got: ", std::strerror(errno)));
    }
    if (count == 0) return checksum.finish();
    checksum.update(std::span(buffer).first(static_cast<size_t>(count)));
  }
  return std::nullopt;
}

class Planner {
 public:
  Planner(const DownloadContext& context, const std::filesystem::path& output, const PlanOptions& options,
          const std::function<void(const std::string&)>& progress)
      : context_(context), options_(options), progress_(progress), root_(Folder::open_existing(output)) {
    if (root_) state_folder_ = open_state_folder(*root_, false);
    if (state_folder_) verified_ = VerifiedFiles::load(*state_folder_);
  }

  DownloadPlan plan(const std::vector<RemoteFile>& files);

 private:
  void look_at(PlannedFile& planned);
  void ask_for_sizes(std::vector<PlannedFile>& files);
  void judge_existing(std::vector<PlannedFile>& files);
  void look_for_part(PlannedFile& planned);

  const DownloadContext& context_;
  PlanOptions options_;
  const std::function<void(const std::string&)>& progress_;
  std::optional<Folder> root_, state_folder_;
  VerifiedFiles verified_;
};

// kTrusted means "a file exists" until judge_existing().
void Planner::look_at(PlannedFile& planned) {
  if (!root_) return;
  const std::optional<Folder> folder = root_->parent_of(planned.file.path, false);
  const auto state = folder ? folder->state(file_name_of(planned.file.path)) : std::nullopt;
  if (!state) return;
  if (!state->is_regular) {
    throw StorageError(str("[", (root_->path() / planned.file.path).string(),
                           "] expected a file or nothing, got something else (try another --output)"));
  }
  planned.state = *state;
  const std::string known = verified_.checksum_of(planned.file.path, *state);
  if (known.empty()) {
    planned.status = FileStatus::kTrusted;
  } else {
    planned.status = known == planned.file.checksum.text() ? FileStatus::kVerified : FileStatus::kStale;
  }
  if (planned.status == FileStatus::kVerified) planned.file.size = state->size;
}

void Planner::ask_for_sizes(std::vector<PlannedFile>& files) {
  std::vector<PlannedFile*> unknown;
  for (PlannedFile& planned : files) {
    if (!planned.file.size) unknown.push_back(&planned);
  }
  if (unknown.empty()) return;
  std::vector<std::unique_ptr<Query>> queries;
  std::vector<Query*> pointers;
  for (const PlannedFile* planned : unknown) {
    queries.push_back(
        std::make_unique<Query>(context_, planned->file.url, Query::Options{.head_only = true, .pass_refusals = true}));
    pointers.push_back(queries.back().get());
  }
  run_queries(context_, pointers, kParallelSizeQueries, [&](size_t done) {
    progress_(str("asking for sizes: ", with_thousands(static_cast<int64_t>(done)), " of ",
                  with_thousands(static_cast<int64_t>(unknown.size()))));
  });
  for (size_t i = 0; i < unknown.size(); ++i) {
    const HttpHead& head = queries[i]->answer().head;
    if (head.status == 200) unknown[i]->file.size = head.content_length();
  }
}

void Planner::judge_existing(std::vector<PlannedFile>& files) {
  std::vector<PlannedFile*> to_read;
  uint64_t bytes = 0;
  for (PlannedFile& planned : files) {
    const bool is_there = planned.is_complete();
    if (!is_there) continue;
    if (planned.status == FileStatus::kTrusted && planned.file.size && *planned.file.size != planned.state.size) {
      planned.status = FileStatus::kStale;
    } else if (options_.verify || (planned.status == FileStatus::kTrusted && planned.state.size <= kQuickBytes) ||
               !planned.file.size) {
      to_read.push_back(&planned);
      bytes += planned.state.size;
    }
  }
  if (to_read.empty()) return;
  std::atomic<bool> stopping = false;
  std::vector<std::future<std::optional<Checksum>>> results;
  ThreadPool pool(options_.jobs);
  for (const PlannedFile* planned : to_read) {
    results.push_back(pool.submit(
        [this, planned, &stopping] { return checksum_of(*root_, planned->file, planned->state.size, stopping); }));
  }
  try {
    uint64_t done = 0;
    for (size_t i = 0; i < results.size(); ++i) {
      while (results[i].wait_for(std::chrono::milliseconds(100)) != std::future_status::ready) {
        context_.check_stop();
        progress_(str("checking what is there: ", human_bytes(done), " of ", human_bytes(bytes)));
      }
      PlannedFile& planned = *to_read[i];
      const std::optional<Checksum> checksum = results[i].get();
      planned.verified_now = checksum == planned.file.checksum;
      planned.status = planned.verified_now ? FileStatus::kVerified : FileStatus::kStale;
      if (planned.verified_now) planned.file.size = planned.state.size;
      done += planned.state.size;
    }
  } catch (...) {
    stopping = true;  // the pool still runs queued tasks
    throw;
  }
}

void Planner::look_for_part(PlannedFile& planned) {
  if (!state_folder_) return;
  const std::string stem = part_stem(planned.file.path);
  const auto part = state_folder_->state(stem + ".part");
  const auto note = part && part->is_regular ? read_part_note(*state_folder_, stem + ".note") : std::nullopt;
  if (!note || note->path != planned.file.path || !(note->checksum == planned.file.checksum)) return;
  if (part->size == 0 || (planned.file.size && part->size > *planned.file.size)) return;
  if (planned.status == FileStatus::kMissing) planned.status = FileStatus::kPartial;
  planned.present = part->size;
}

DownloadPlan Planner::plan(const std::vector<RemoteFile>& files) {
  DownloadPlan plan;
  for (const RemoteFile& file : files) {
    plan.files.push_back({.file = file, .state = {}});
    look_at(plan.files.back());
  }
  ask_for_sizes(plan.files);
  judge_existing(plan.files);
  for (PlannedFile& planned : plan.files) {
    if (planned.is_complete()) {
      planned.present = planned.state.size;
    } else {
      look_for_part(planned);
    }
    plan.unknown_sizes += planned.file.size ? 0 : 1;
    plan.total_bytes += planned.file.size.value_or(planned.present);
    plan.present_bytes += planned.present;
  }
  return plan;
}

}  // namespace

const char* name_of(FileStatus status) {
  switch (status) {
    case FileStatus::kMissing:
      return "missing";
    case FileStatus::kPartial:
      return "partial";
    case FileStatus::kStale:
      return "stale";
    case FileStatus::kTrusted:
      return "complete";
    case FileStatus::kVerified:
      return "verified";
  }
  return "";
}

size_t DownloadPlan::count(FileStatus status) const {
  return static_cast<size_t>(
      std::count_if(files.begin(), files.end(), [&](const PlannedFile& file) { return file.status == status; }));
}

size_t DownloadPlan::complete_count() const {
  return count(FileStatus::kTrusted) + count(FileStatus::kVerified);
}

std::optional<Folder> open_state_folder(const Folder& root, bool create) {
  return root.parent_of(std::string(kStateFolder) + "/x", create);
}

DownloadPlan make_plan(const DownloadContext& context, const std::vector<RemoteFile>& files,
                       const std::filesystem::path& output, const PlanOptions& options,
                       const std::function<void(const std::string&)>& progress) {
  return Planner(context, output, options, progress).plan(files);
}

void check_free_space(const DownloadPlan& plan, const std::filesystem::path& output) {
  const uint64_t free = free_bytes(output);
  if (plan.missing_bytes() <= free) return;
  throw StorageError(str("[", output.string(), "] expected ", human_bytes(plan.missing_bytes()), " of free space, got ",
                         human_bytes(free), " (try --output on another disk, or --include to take a part)"));
}

}  // namespace millrace
