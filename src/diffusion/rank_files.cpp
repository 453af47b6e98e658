#include "diffusion/rank_files.h"

#include <algorithm>
#include <cstring>
#include <future>

#include "base/error.h"
#include "base/folder_walk.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/text.h"
#include "base/thread_pool.h"
#include "data/dataset_files.h"
#include "data/sample_shard.h"

namespace millrace {
namespace {

// The first rank's text, on every rank.
std::string share_text(const std::string& text, Group& ranks, torch::Device device) {
  torch::Tensor size = torch::tensor({static_cast<int64_t>(text.size())}).to(device);
  ranks.broadcast(size, 0).wait();
  torch::Tensor bytes = torch::zeros({size.cpu().item<int64_t>()}, torch::kUInt8);
  if (ranks.rank() == 0) std::memcpy(bytes.data_ptr(), text.data(), text.size());
  bytes = bytes.to(device);
  ranks.broadcast(bytes, 0).wait();
  bytes = bytes.cpu();
  return {static_cast<const char*>(bytes.const_data_ptr()), static_cast<size_t>(bytes.numel())};
}

// Names may hold any byte but 0.
std::string to_text(const std::vector<ShardFile>& files) {
  std::string text;
  for (const ShardFile& file : files) {
    const std::string kind = std::to_string(static_cast<int>(file.kind)), size = std::to_string(file.size);
    for (const std::string& part : {file.path.string(), file.name, size, kind, file.problem}) text += part + '\0';
  }
  return text;
}

std::vector<ShardFile> from_text(const std::string& text) {
  constexpr size_t kParts = 5;
  const std::vector<std::string> parts = split(text, '\0');
  std::vector<ShardFile> files;
  for (size_t i = 0; i + kParts < parts.size(); i += kParts) {
    files.push_back({parts[i], parts[i + 1], std::stoull(parts[i + 2]), static_cast<ShardKind>(std::stoi(parts[i + 3])),
                     parts[i + 4]});
  }
  return files;
}

std::vector<ShardFile> list_once(const DatasetKind& kind, const std::string& path, const std::string& key, Group& ranks,
                                 torch::Device device) {
  if (ranks.size() == 1) return list_dataset(kind, path, key);
  // One character tells what follows: a list, or an error's code and message.
  std::string text;
  if (ranks.rank() == 0) {
    try {
      text = "l" + to_text(list_dataset(kind, path, key));
    } catch (const Error& error) {
      text = str("e", static_cast<int>(error.code()), " ", error.what());
    }
  }
  text = share_text(text, ranks, device);
  if (text.front() == 'l') return from_text(text.substr(1));
  const size_t blank = text.find(' ');
  throw_error(static_cast<ExitCode>(std::stoi(text.substr(1, blank))), text.substr(blank + 1));
}

void note_lost_files(std::vector<ShardFile>& files, Group& ranks, torch::Device device) {
  constexpr int kThreads = 8;  // they wait for the disk
  const auto num_files = static_cast<int64_t>(files.size());
  torch::Tensor is_lost = torch::zeros({num_files}, torch::kInt32);
  {
    ThreadPool pool(static_cast<int>(std::clamp<int64_t>(num_files / ranks.size(), 1, kThreads)));
    std::vector<std::future<void>> looks;
    auto* const flags = is_lost.data_ptr<int32_t>();
    for (int64_t i = ranks.rank(); i < num_files; i += ranks.size()) {
      looks.push_back(pool.submit([&file = files[static_cast<size_t>(i)], flag = flags + i] {
        file.problem = find_lost(file);
        *flag = file.problem.empty() ? 0 : 1;
      }));
    }
    for (std::future<void>& look : looks) look.get();
  }
  is_lost = is_lost.to(device);
  ranks.all_reduce(is_lost).wait();
  is_lost = is_lost.cpu();
  for (int64_t i = 0; i < num_files; ++i) {
    ShardFile& file = files[static_cast<size_t>(i)];
    if (is_lost[i].item<int32_t>() == 0 || !file.problem.empty()) continue;
    file.problem = find_lost(file);  // reported by another rank; few files are inspected twice
    if (file.problem.empty()) file.problem = "expected a shard on every rank, got none on another";
  }
}

}  // namespace

std::vector<ShardFile> list_rank_files(const DatasetKind& kind, const std::string& path, const std::string& key,
                                       Group& ranks, torch::Device device) {
  std::vector<ShardFile> files = list_once(kind, path, key, ranks, device);
  note_lost_files(files, ranks, device);
  return files;
}

void check_lost_files(const std::vector<ShardFile>& files, const LostFileLimit& limit, const Group& ranks) {
  PassedOver lost;
  const ShardFile* first = nullptr;
  for (const ShardFile& file : files) {
    if (file.problem.empty()) continue;
    if (!first) first = &file;
    lost.add(file.path, file.problem);
  }
  if (!first) return;
  const auto num_lost = static_cast<size_t>(lost.count());
  const double allowed = limit.max_fraction * static_cast<double>(files.size());
  if (num_lost == files.size() || static_cast<double>(num_lost) > allowed) {
    throw DataError(str("[", printable(first->path.string()), "] ", first->problem, "; no shards: ", num_lost, " of ",
                        files.size(), " files (try ", limit.advice, ")"));
  }
  if (ranks.rank() == 0) log_warning("[data set] each of these counts as one bad sample: ", lost.text());
}

}  // namespace millrace
