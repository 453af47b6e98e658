#include "download/downloader.h"

#include <algorithm>
#include <memory>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "download/transfer.h"
#include "download/verified_files.h"

namespace millrace {
namespace {

// After this many files in a row have failed, the rest are not tried.
constexpr size_t kMaxFailuresInARow = 8;

class Downloader {
 public:
  Downloader(const DownloadContext& context, const DownloadPlan& plan, const std::filesystem::path& output, size_t jobs)
      : context_(context),
        plan_(plan),
        root_(Folder::open(output, false)),
        state_folder_(*open_state_folder(root_, true)),
        verified_(VerifiedFiles::load(state_folder_)),
        jobs_(jobs) {}

  DownloadSummary run(const std::function<void(const DownloadProgress&)>& progress);

 private:
  void start_transfers();
  void step_transfers();
  void end_transfer(const Transfer& transfer);
  DownloadProgress progress() const;

  const DownloadContext& context_;
  const DownloadPlan& plan_;
  Folder root_;
  Folder state_folder_;
  VerifiedFiles verified_;
  size_t jobs_;

  size_t next_ = 0;  // of the plan's files
  std::vector<std::unique_ptr<Transfer>> transfers_;
  double not_before_ = 0;
  size_t failures_in_a_row_ = 0;
  size_t files_done_ = 0;
  uint64_t bytes_done_ = 0;      // of files that are complete
  uint64_t bytes_waiting_ = 0;   // of parts whose transfer has not started
  uint64_t bytes_received_ = 0;  // by transfers that have ended
  DownloadSummary summary_;
};

void Downloader::start_transfers() {
  // A transfer that is only reading or writing its disk yields its connection to another.
  const auto uses_network = [](const auto& transfer) {
    return transfer->phase() == Transfer::Phase::kWaiting || transfer->phase() == Transfer::Phase::kReceiving;
  };
  while (next_ < plan_.files.size() && transfers_.size() < 2 * jobs_ &&
         static_cast<size_t>(std::count_if(transfers_.begin(), transfers_.end(), uses_network)) < jobs_) {
    const PlannedFile& planned = plan_.files[next_++];
    if (planned.is_complete()) continue;
    bytes_waiting_ -= planned.present;
    transfers_.push_back(std::make_unique<Transfer>(context_, root_, state_folder_, planned.file));
    transfers_.back()->step(now_seconds(), not_before_);
  }
}

void Downloader::step_transfers() {
  for (const auto& transfer : transfers_) {
    transfer->step(now_seconds(), not_before_);
    not_before_ = std::max(not_before_, transfer->server_wait_until());
  }
  for (auto& transfer : transfers_) {
    if (transfer->phase() != Transfer::Phase::kDone && transfer->phase() != Transfer::Phase::kFailed) continue;
    end_transfer(*transfer);
    transfer.reset();
  }
  std::erase(transfers_, nullptr);
}

void Downloader::end_transfer(const Transfer& transfer) {
  bytes_received_ += transfer.bytes_received();
  const RemoteFile& file = transfer.file();
  if (transfer.phase() == Transfer::Phase::kDone) {
    verified_.add(state_folder_, file.path, file.checksum, transfer.result());
    failures_in_a_row_ = 0;
    ++files_done_;
    ++summary_.files_fetched;
    bytes_done_ += transfer.result().size;
    return;
  }
  const std::string message = transfer.failure().message();
  if (transfer.failure().reach == Refusal::Reach::kEverything) throw DataError(message);
  summary_.failures.push_back(message);
  if (++failures_in_a_row_ >= kMaxFailuresInARow || plan_.files.size() == 1) throw DataError(message);
  log_error(message);
}

DownloadProgress Downloader::progress() const {
  DownloadProgress progress{.files = plan_.files.size(),
                            .files_done = files_done_,
                            .bytes = plan_.total_bytes,
                            .bytes_done = bytes_done_ + bytes_waiting_,
                            .received = bytes_received_,
                            .active = transfers_.size()};
  for (const auto& transfer : transfers_) {
    progress.bytes_done += transfer->bytes_present();
    progress.received += transfer->bytes_received();
  }
  return progress;
}

DownloadSummary Downloader::run(const std::function<void(const DownloadProgress&)>& report) {
  for (const PlannedFile& planned : plan_.files) {
    if (!planned.is_complete()) {
      bytes_waiting_ += planned.present;
      continue;
    }
    if (planned.verified_now) verified_.add(state_folder_, planned.file.path, planned.file.checksum, planned.state);
    ++files_done_;
    bytes_done_ += planned.present;
  }
  while (true) {
    context_.check_stop();
    start_transfers();
    step_transfers();
    report(progress());
    if (transfers_.empty() && next_ == plan_.files.size()) break;
    context_.client.run(kDownloadTick);
  }
  summary_.received = bytes_received_;
  return std::move(summary_);
}

}  // namespace

DownloadSummary download(const DownloadContext& context, const DownloadPlan& plan, const std::filesystem::path& output,
                         int jobs, const std::function<void(const DownloadProgress&)>& progress) {
  return Downloader(context, plan, output, static_cast<size_t>(jobs)).run(progress);
}

}  // namespace millrace
