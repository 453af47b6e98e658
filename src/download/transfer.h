// Transfers one file: continues where an earlier attempt stopped, follows redirects, retries, starts over when the
// server's file has changed or its answer cannot be continued, and ends with a verified file or an error.
#pragma once

#include <optional>
#include <string>

#include "download/http_client.h"
#include "download/part_file.h"
#include "download/query.h"
#include "download/remote_file.h"

namespace millrace {

class Transfer : private HttpReceiver {
 public:
  enum class Phase {
    kChecking,   // reading the bytes already present
    kWaiting,    // until ready_at()
    kReceiving,  // requested, or receiving bytes
    kFinishing,  // last bytes, checksum, rename
    kDone,
    kFailed,
  };

  // root: the output folder. file: an unknown size is filled in from the server's answer.
  Transfer(const DownloadContext& context, const Folder& root, const Folder& state_folder, const RemoteFile& file);
  ~Transfer() override;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;

  // Does what can be done now. not_before: the server asked for no requests until then. Throws StorageError.
  void step(double now, double not_before);

  Phase phase() const { return phase_; }
  const RemoteFile& file() const { return file_; }
  uint64_t bytes_present() const { return part_ ? part_->size() : 0; }
  uint64_t bytes_received() const { return received_; }  // over the network, including discarded bytes
  // The time until which the server's last answer asked clients to wait; 0: none.
  double server_wait_until() const { return server_wait_until_; }
  // With kDone.
  const FileState& result() const { return result_; }
  // With kFailed.
  const Refusal& failure() const { return failure_; }

 private:
  bool on_head(const HttpHead& head) override;
  Flow on_body(std::span<const std::byte> bytes) override;
  void on_end(const HttpEnd& end) override;

  void request();
  bool take_whole(const HttpHead& head);    // 200
  bool take_partial(const HttpHead& head);  // 206
  // Why an answer with this total size cannot be the file; "" when it can. Fills in an unknown size.
  std::string size_problem(std::optional<uint64_t> total);
  void end_of_answer();
  void finish();
  void check_finished();
  void start_over(const std::string& why);
  void retry_or_fail(const Refusal& refusal, std::optional<double> wait);
  void fail(Refusal refusal);

  const DownloadContext& context_;
  const Folder& root_;
  const Folder& state_folder_;
  RemoteFile file_;
  std::optional<PartFile> part_;
  Phase phase_ = Phase::kChecking;

  // The answer being received.
  Url url_;  // of this hop
  int redirects_ = 0;
  HttpClient::Id running_ = 0;
  bool has_range_ = false;
  bool paused_ = false;
  HttpHead head_;
  bool takes_body_ = false;     // its body is the file
  uint64_t ignored_bytes_ = 0;  // of a body that is not the file
  std::string unusable_;        // why it cannot be used; a fresh start may help

  Retry retry_;
  uint64_t furthest_ = 0;  // most bytes that any attempt reached: only exceeding it counts as progress
  uint64_t received_ = 0;
  int fresh_starts_ = 0;
  int mismatches_ = 0;
  double server_wait_until_ = 0;
  FileState result_;
  Refusal failure_;
};

}  // namespace millrace
