// Whole downloads over plain HTTP from a server in this process, so that the sanitizers see every thread of them. How
// servers misbehave is the matter of tests/download.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/philox.h"
#include "base/text.h"
#include "download/downloader.h"
#include "download/folder.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

// Answers GET and HEAD with ranges; breaks the first `breaks` bodies of each path in the middle.
class LoopbackServer {
 public:
  explicit LoopbackServer(std::map<std::string, std::string> files, int breaks)
      : files_(std::move(files)), breaks_(breaks) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (::bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener_, 64) != 0)
      std::abort();
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    threads_.emplace_back([this] { accept_all(); });
  }
  ~LoopbackServer() {
    ::shutdown(listener_, SHUT_RDWR);
    {
      const std::lock_guard lock(mutex_);
      for (const int connection : connections_) ::shutdown(connection, SHUT_RDWR);
    }
    threads_.front().join();
    for (size_t i = 1; i < threads_.size(); ++i) threads_[i].join();
    ::close(listener_);
  }
  Url url(const std::string& path) const { return *parse_url(str("http://127.0.0.1:", port_, path)); }
  int bodies() const { return bodies_; }

 private:
  void accept_all() {
    while (true) {
      const int connection = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (connection < 0) return;
      const std::lock_guard lock(mutex_);
      connections_.insert(connection);
      threads_.emplace_back([this, connection] { serve(connection); });
    }
  }
  void serve(int connection) {
    std::string pending;
    char buffer[4096];
    while (true) {
      const size_t end = pending.find("\r\n\r\n");
      if (end == std::string::npos) {
        const ssize_t count = ::recv(connection, buffer, sizeof buffer, 0);
        if (count <= 0) break;
        pending.append(buffer, static_cast<size_t>(count));
        continue;
      }
      const std::string request = pending.substr(0, end + 2);
      pending.erase(0, end + 4);
      if (!answer(connection, request)) break;
    }
    const std::lock_guard lock(mutex_);
    connections_.erase(connection);
    ::close(connection);
  }
  bool answer(int connection, const std::string& request) {
    const std::string path = split(request, ' ')[1];
    const auto found = files_.find(path);
    if (found == files_.end()) return send(connection, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
    const std::string& content = found->second;
    size_t first = 0;
    const size_t range = request.find("Range: bytes=");
    if (range != std::string::npos) first = std::stoul(request.substr(range + 13));
    std::string head = str("HTTP/1.1 ", range == std::string::npos ? "200 OK" : "206 Partial Content",
                           "\r\nContent-Length: ", content.size() - first, "\r\nETag: \"e\"\r\n");
    if (range != std::string::npos) {
      head += str("Content-Range: bytes ", first, "-", content.size() - 1, "/", content.size(), "\r\n");
    }
    if (!send(connection, head + "\r\n")) return false;
    if (starts_with(request, "HEAD")) return true;
    ++bodies_;
    bool breaks = false;
    {
      const std::lock_guard lock(mutex_);
      breaks = broken_[path]++ < breaks_;
    }
    const std::string body = content.substr(first, breaks ? (content.size() - first) / 2 : std::string::npos);
    return send(connection, body) && !breaks;
  }
  static bool send(int connection, const std::string& text) {
    for (size_t done = 0; done < text.size();) {
      const ssize_t count = ::send(connection, text.data() + done, text.size() - done, MSG_NOSIGNAL);
      if (count <= 0) return false;
      done += static_cast<size_t>(count);
    }
    return true;
  }

  std::map<std::string, std::string> files_;
  int breaks_, listener_ = -1, port_ = 0;
  std::atomic<int> bodies_{0};
  std::mutex mutex_;
  std::set<int> connections_;
  std::map<std::string, int> broken_;
  std::vector<std::thread> threads_;
};

std::string noise(uint64_t size, uint64_t seed) {
  const RandomStream stream = random_stream(seed, RandomPurpose::kShuffle, 0, 0);
  std::string text(size, '\0');
  for (uint64_t i = 0; i < size; ++i) text[i] = static_cast<char>(random_word(stream, i / 64) >> (i % 24));
  return text;
}

class DownloaderTest : public ::testing::Test {
 protected:
  DownloaderTest() : folder_(fs::path(::testing::TempDir()) / str("downloader-", ::getpid())) {
    fs::remove_all(folder_);
    set_console_log_level(LogLevel::kError);
  }
  ~DownloaderTest() override { fs::remove_all(folder_); }

  std::vector<RemoteFile> list(const LoopbackServer& server) const {
    std::vector<RemoteFile> files;
    for (const auto& [path, content] : contents_) {
      ChecksumStream checksum(ChecksumKind::kSha256, content.size());
      checksum.update(std::as_bytes(std::span(content)));
      files.push_back({.path = path.substr(1), .url = server.url(path), .size = {}, .checksum = checksum.finish()});
    }
    return files;
  }
  DownloadSummary run(
      const std::vector<RemoteFile>& files, const std::function<bool()>& stop = [] { return false; }) {
    HttpClient client({.connect_seconds = 10, .stall_seconds = 10});
    const Source source;
    const DownloadContext context{
        .client = client, .source = source, .retry = {.retries = 8, .first_seconds = 0.01}, .stop = stop};
    create_folders(folder_);
    const DownloadPlan plan = make_plan(context, files, folder_, {.jobs = 4}, [](const std::string&) {});
    return download(context, plan, folder_, 4, [](const DownloadProgress&) {});
  }
  void expect_all() const {
    for (const auto& [path, content] : contents_) {
      ASSERT_EQ(read_file(folder_ / path.substr(1)), content) << path;
    }
  }

  fs::path folder_;
  std::map<std::string, std::string> contents_;
};

TEST_F(DownloaderTest, ManyFilesOverBreakingConnections) {
  for (int i = 0; i < 24; ++i) contents_[str("/folder-", i % 3, "/file-", i)] = noise(uint64_t{37} * i * i * i, i);
  const LoopbackServer server(contents_, 2);
  const DownloadSummary summary = run(list(server));
  EXPECT_EQ(summary.files_fetched, 24u);
  EXPECT_TRUE(summary.failures.empty());
  expect_all();
  const int bodies = server.bodies();
  EXPECT_EQ(run(list(server)).files_fetched, 0u);
  EXPECT_EQ(server.bodies(), bodies) << "what is complete is left alone";
}

TEST_F(DownloaderTest, StopsAndGoesOn) {
  for (int i = 0; i < 8; ++i) contents_[str("/file-", i)] = noise(3'000'000 + i, i);
  const LoopbackServer server(contents_, 0);
  std::atomic<int> looks = 0;
  EXPECT_THROW(run(list(server), [&] { return ++looks > 6; }), Preempted);
  run(list(server));
  expect_all();
}

TEST_F(DownloaderTest, WrongContentIsThrownAway) {
  contents_["/a"] = noise(100'000, 1);
  const LoopbackServer server(contents_, 0);
  std::vector<RemoteFile> files = list(server);
  files[0].checksum.hex = std::string(64, '0');
  EXPECT_THAT([&] { run(files); }, ThrowsMessage<DataError>(HasSubstr("[a] expected the checksum sha256:000")));
  EXPECT_FALSE(fs::exists(folder_ / "a"));
}

}  // namespace
}  // namespace millrace
