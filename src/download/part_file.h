// An unfinished file: written, hashed and renamed on its own thread, so that neither disk nor checksum slows the
// connection down, and files do not slow each other down.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <thread>

#include "download/checksum.h"
#include "download/folder.h"
#include "download/part_note.h"
#include "download/remote_file.h"

namespace millrace {

// All calls must come from one thread and never block. Errors on the worker are thrown by the next call, as
// StorageError.
class PartFile {
 public:
  // Continues the part that an earlier process left in the state folder if it belongs to the same content; else starts
  // over. notify is called, on the worker's thread, when is_busy() or is_full() may have changed.
  PartFile(const Folder& state_folder, const RemoteFile& file, std::function<void()> notify);
  ~PartFile();  // writes queued bytes; the part and its note remain
  PartFile(const PartFile&) = delete;
  PartFile& operator=(const PartFile&) = delete;

  // Bytes that the part holds, including queued ones.
  uint64_t size() const { return size_; }
  // The server's description of the bytes in the part; etag and origin are empty at first.
  const PartNote& note() const { return note_; }
  // The worker is reading existing bytes, or finishing.
  bool is_busy();
  // The queue is full: the sender should wait.
  bool is_full();

  // Stores the server's name for the content before its bytes arrive.
  void set_server(const std::string& etag, const std::string& origin);
  void append(std::span<const std::byte> bytes);
  // Discards the part's content.
  void restart();
  // Syncs it to disk and, if the checksum is right, moves it to its name in `folder`. finished() then has the result.
  void finish(Folder folder, std::string name);
  struct Result {
    Checksum got;
    bool matches = false;
    FileState state;  // of the file with its name
  };
  const std::optional<Result>& finished();

 private:
  struct Job {
    std::function<void()> run;
    uint64_t bytes = 0;
    bool is_long = false;
  };
  void post(Job job);
  void work();
  void rethrow();

  void open_part(const RemoteFile& file);
  void hash_existing(uint64_t bytes);
  void write(std::span<const std::byte> bytes);
  void finish_on_worker(const Folder& folder, const std::string& name);

  const Folder& state_folder_;
  std::string part_name_, note_name_;
  PartNote note_;
  uint64_t total_size_ = 0;
  uint64_t size_ = 0;
  std::function<void()> notify_;

  // The worker's own.
  Descriptor descriptor_;
  std::optional<ChecksumStream> checksum_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  uint64_t queued_bytes_ = 0;
  int long_jobs_ = 0;
  bool closing_ = false;
  std::exception_ptr error_;
  std::optional<Result> result_;  // guarded by mutex_ until read by the caller's thread
  std::optional<Result> seen_result_;
  std::thread worker_;
};

}  // namespace millrace
