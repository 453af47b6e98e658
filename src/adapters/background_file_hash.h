// The SHA-256 of a file, computed beside other work: that of a FLUX in bf16 takes a core 15 to 100 seconds.
#pragma once

#include <filesystem>
#include <future>
#include <string>
#include <thread>

namespace millrace {

class BackgroundFileHash {
 public:
  // Starts a thread, which reads the file in pieces. The destructor stops it.
  explicit BackgroundFileHash(const std::filesystem::path& path);

  // As kohya_file_sha256(). Waits for the thread. Throws what the thread threw.
  std::string get() const { return hash_.get(); }

 private:
  std::shared_future<std::string> hash_;
  std::jthread thread_;
};

}  // namespace millrace
