#include "download/part_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxQueuedBytes = 16 << 20;
constexpr size_t kPartReadBytes = 4 << 20;

}  // namespace

PartFile::PartFile(const Folder& state_folder, const RemoteFile& file, std::function<void()> notify)
    : state_folder_(state_folder),
      part_name_(part_stem(file.path) + ".part"),
      note_name_(part_stem(file.path) + ".note"),
      note_{.path = file.path, .checksum = file.checksum, .etag = "", .origin = ""},
      total_size_(file.size.value_or(0)),
      notify_(std::move(notify)) {
  open_part(file);
  worker_ = std::thread([this] { work(); });
}

PartFile::~PartFile() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

void PartFile::open_part(const RemoteFile& file) {
  const auto state = state_folder_.state(part_name_);
  if (state && !state->is_regular) state_folder_.remove(part_name_);
  const auto note = read_part_note(state_folder_, note_name_);
  const bool same = state && state->is_regular && note && note->path == file.path && note->checksum == file.checksum &&
                    (!file.size || state->size <= *file.size);
  descriptor_ = state_folder_.open_file(part_name_, O_RDWR | O_CREAT | (same ? 0 : O_TRUNC));
  checksum_.emplace(file.checksum.kind, total_size_);
  if (!same) return;
  note_ = *note;
  size_ = state->size;
  if (size_ > 0) jobs_.push_back({[this, bytes = size_] { hash_existing(bytes); }, 0, true});
  long_jobs_ = static_cast<int>(jobs_.size());
}

void PartFile::post(Job job) {
  rethrow();
  {
    const std::lock_guard lock(mutex_);
    queued_bytes_ += job.bytes;
    long_jobs_ += job.is_long ? 1 : 0;
    jobs_.push_back(std::move(job));
  }
  changed_.notify_all();
}

void PartFile::rethrow() {
  const std::lock_guard lock(mutex_);
  if (error_) std::rethrow_exception(error_);
}

bool PartFile::is_busy() {
  rethrow();
  const std::lock_guard lock(mutex_);
  return long_jobs_ > 0;
}

bool PartFile::is_full() {
  rethrow();
  const std::lock_guard lock(mutex_);
  return queued_bytes_ >= kMaxQueuedBytes;
}

void PartFile::work() {
  while (true) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return closing_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
      if (error_) continue;  // nothing more is written after a failure
    }
    std::exception_ptr error;
    try {
      job.run();
    } catch (...) {
      error = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex_);
      queued_bytes_ -= job.bytes;
      long_jobs_ -= job.is_long ? 1 : 0;
      error_ = error;
    }
    notify_();
  }
}

void PartFile::hash_existing(uint64_t bytes) {
  std::vector<std::byte> buffer(std::min<uint64_t>(kPartReadBytes, bytes));
  for (uint64_t done = 0; done < bytes;) {
    {
      const std::lock_guard lock(mutex_);
      if (closing_) return;
    }
    const size_t wanted = std::min<uint64_t>(buffer.size(), bytes - done);
    const ssize_t count = ::pread(descriptor_.get(), buffer.data(), wanted, static_cast<off_t>(done));
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      throw StorageError(str("[", (state_folder_.path() / part_name_).string(), "] expected ", bytes,
                             " bytes that can be read, got: ", count == 0 ? "a shorter file" : std::strerror(errno)));
    }
    checksum_->update(std::span(buffer).first(static_cast<size_t>(count)));
    done += static_cast<uint64_t>(count);
  }
  if (::lseek(descriptor_.get(), static_cast<off_t>(bytes), SEEK_SET) < 0) {
    throw StorageError(str("[", (state_folder_.path() / part_name_).string(),
                           "] expected a regular file, got: ", std::strerror(errno)));
  }
}

void PartFile::write(std::span<const std::byte> bytes) {
  const size_t total = bytes.size();
  for (std::span<const std::byte> rest = bytes; !rest.empty();) {
    const ssize_t count = ::write(descriptor_.get(), rest.data(), rest.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const std::string reason = std::strerror(errno);
      throw StorageError(str("[", (state_folder_.path() / part_name_).string(), "] expected room for ", total,
                             " more bytes, got: ", reason,
                             " (the received part is kept: make room and repeat the same command)"));
    }
    rest = rest.subspan(static_cast<size_t>(count));
  }
  checksum_->update(bytes);
}

void PartFile::set_server(const std::string& etag, const std::string& origin) {
  if (note_.etag == etag && note_.origin == origin) return;
  note_.etag = etag;
  note_.origin = origin;
  post({[this, note = note_] { write_part_note(state_folder_, note_name_, note); }, 0, false});
}

void PartFile::append(std::span<const std::byte> bytes) {
  auto copy = std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end());
  size_ += bytes.size();
  post({[this, copy] { write(*copy); }, bytes.size(), false});
}

void PartFile::restart() {
  size_ = 0;
  note_.etag.clear();
  note_.origin.clear();
  post({[this] {
          if (::ftruncate(descriptor_.get(), 0) != 0 || ::lseek(descriptor_.get(), 0, SEEK_SET) != 0) {
            throw StorageError(str("[", (state_folder_.path() / part_name_).string(),
                                   "] expected a file that can be emptied, got: ", std::strerror(errno)));
          }
          checksum_.emplace(note_.checksum.kind, total_size_);
          state_folder_.remove(note_name_);
        },
        0, false});
}

void PartFile::finish(Folder folder, std::string name) {
  auto destination = std::make_shared<Folder>(std::move(folder));
  post({[this, destination, name = std::move(name)] { finish_on_worker(*destination, name); }, 0, true});
}

void PartFile::finish_on_worker(const Folder& folder, const std::string& name) {
  Result result{.got = checksum_->finish(), .matches = false, .state = {}};
  result.matches = result.got == note_.checksum;
  if (result.matches) {
    if (::fsync(descriptor_.get()) != 0) {
      throw StorageError(str("[", (state_folder_.path() / part_name_).string(),
                             "] expected a file that can be synced to disk, got: ", std::strerror(errno)));
    }
    state_folder_.rename(part_name_, folder, name);
    folder.sync();
    state_folder_.remove(note_name_);
    result.state = folder.state(name).value_or(FileState{});
  } else {
    state_folder_.remove(part_name_);
    state_folder_.remove(note_name_);
  }
  const std::lock_guard lock(mutex_);
  result_ = std::move(result);
}

const std::optional<PartFile::Result>& PartFile::finished() {
  rethrow();
  const std::lock_guard lock(mutex_);
  if (result_ && !seen_result_) seen_result_ = result_;
  return seen_result_;
}

}  // namespace millrace
