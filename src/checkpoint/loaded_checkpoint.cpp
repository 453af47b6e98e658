#include "checkpoint/loaded_checkpoint.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "checkpoint/wanted_tensors.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// Reading takes most of the time; more readers than this do not make a disk faster.
int num_readers() {
  return std::clamp(torch::get_num_threads(), 1, 8);
}

// Runs all of them, even if one fails, so that nothing they refer to is destroyed too early.
void wait_for_all(std::vector<std::future<void>>& tasks) {
  for (std::future<void>& task : tasks) task.wait();
  for (std::future<void>& task : tasks) task.get();
}

// Ranks that see different files, as on a disk that is not shared, must not continue.
std::string same_everywhere(const std::string& place, const std::vector<std::string>& answers) {
  for (size_t rank = 1; rank < answers.size(); ++rank) {
    if (answers[rank] == answers[0]) continue;
    throw StorageError(str("[", place, "] expected the same on all ranks, got another content on rank ", rank,
                           " (is the folder on a file system that all ranks share?)"));
  }
  return "";
}

}  // namespace

LoadedCheckpoint::LoadedCheckpoint(const fs::path& step_folder)
    : LoadedCheckpoint(step_folder, std::make_shared<Peers>(), "") {}

LoadedCheckpoint::LoadedCheckpoint(const fs::path& step_folder, std::shared_ptr<Peers> peers, std::string topic)
    : folder_(step_folder), peers_(std::move(peers)), topic_(std::move(topic)) {
  peers_->agree(
      topic_ + "/verify", [this] { return open_and_verify_share(peers_->rank(), peers_->size()); },
      [this](const auto& answers) { return same_everywhere((folder_ / kCheckpointIndexName).string(), answers); });
}

// Returns the index's own checksum.
std::string LoadedCheckpoint::open_and_verify_share(int rank, int size) {
  index_ = read_checkpoint_index(folder_ / kCheckpointIndexName);
  files_ = std::make_shared<ShardFiles>(folder_, index_.files);
  struct Item {
    std::string_view file, name;
    const CheckpointTensor* tensor;
    const CheckpointPiece* piece;
    uint64_t bytes;
  };
  std::vector<Item> items;
  uint64_t total = 0, before = 0;
  for (const auto& [name, tensor] : index_.tensors) {
    for (const CheckpointPiece& piece : tensor.pieces) {
      const auto bytes = static_cast<uint64_t>(element_count(piece.shape)) * size_of(tensor.dtype);
      items.push_back({piece.file, name, &tensor, &piece, bytes});
      total += bytes;
    }
  }
  // File by file, so that a rank opens few of them; a rank gets the pieces whose middle lies in its part of all bytes.
  std::stable_sort(items.begin(), items.end(), [](const Item& a, const Item& b) { return a.file < b.file; });
  ThreadPool pool(num_readers());
  std::vector<std::future<void>> checks;
  for (const Item& item : items) {
    const double middle = static_cast<double>(before) + static_cast<double>(item.bytes) / 2;
    const int owner = total == 0 ? 0 : static_cast<int>(middle / static_cast<double>(total) * size);
    before += item.bytes;
    if (std::min(owner, size - 1) != rank) continue;
    checks.push_back(pool.submit([this, &item] { files_->verify(std::string(item.name), *item.tensor, *item.piece); }));
  }
  wait_for_all(checks);
  int64_t number = 0;
  for (const auto& [name, file] : index_.files) {
    if (number++ % size == rank) files_->open(name);  // a file without pieces must exist, too
  }
  return index_.own_checksum;
}

const CheckpointTensor& LoadedCheckpoint::find(const std::string& name) const {
  const auto found = index_.tensors.find(name);
  if (found != index_.tensors.end()) return found->second;
  throw ModelError(str("[", folder_.string(), "] expected a tensor ", name, ", got none"));
}

torch::Tensor LoadedCheckpoint::tensor(const std::string& name) const {
  const CheckpointTensor& tensor = find(name);
  if (tensor.pieces.size() != 1) return read(name);
  const CheckpointPiece& piece = tensor.pieces.front();
  return to_tensor(files_->open(name, tensor, piece), files_->open(piece.file).keep_alive()).view(tensor.shape);
}

torch::Tensor LoadedCheckpoint::read(const std::string& name) const {
  const CheckpointTensor& tensor = find(name);
  torch::Tensor whole = torch::empty(tensor.shape, to_scalar_type(tensor.dtype));
  fill({name, tensor.shape, 0, {}, {}, whole});
  return whole;
}

void LoadedCheckpoint::fill(const NamedPiece& piece) const {
  const torch::NoGradGuard no_grad;
  const CheckpointTensor& tensor = index_.tensors.at(piece.name);
  const bool in_place = piece.data.is_cpu() && piece.data.is_contiguous();
  const torch::Tensor host = in_place ? piece.data : torch::empty(piece.data.sizes(), piece.data.scalar_type());
  const auto element_size = static_cast<int64_t>(size_of(tensor.dtype));
  auto* target = static_cast<std::byte*>(host.data_ptr());
  for (const CheckpointPiece& source : tensor.pieces) {
    const TensorRegion wanted = region_of(piece), stored = region_of(source);
    if (!have_common_elements(tensor.shape, wanted, stored)) continue;
    const std::span<const std::byte> bytes = files_->open(piece.name, tensor, source).bytes;
    size_t begin = bytes.size(), end = 0;
    for_each_common_run(tensor.shape, wanted, stored, [&](const CommonRun& run) {
      const auto from =
          bytes.subspan(static_cast<size_t>(run.from_b * element_size), static_cast<size_t>(run.length * element_size));
      std::memcpy(target + run.from_a * element_size, from.data(), from.size());
      begin = std::min(begin, static_cast<size_t>(run.from_b * element_size));
      end = static_cast<size_t>((run.from_b + run.length) * element_size);
    });
    release_mapped(bytes.subspan(begin, end - begin));
  }
  if (!in_place) piece.data.copy_(host);
}

// This rank's answer about the tensors that it wants; opens the files that it will read, so that a file which only this
// rank cannot see is detected before anything changes.
std::string LoadedCheckpoint::compare(const std::vector<NamedPiece>& pieces) const {
  WantedTensors wanted(index_.tensors);
  for (const NamedPiece& piece : pieces) {
    check_piece(piece);
    if (!wanted.add(piece)) continue;
    const CheckpointTensor& tensor = index_.tensors.at(piece.name);
    for (const CheckpointPiece& source : tensor.pieces) {
      if (have_common_elements(tensor.shape, region_of(piece), region_of(source))) {
        files_->open(piece.name, tensor, source);
      }
    }
  }
  return wanted.to_text();
}

void LoadedCheckpoint::copy_into(const std::vector<NamedPiece>& pieces, Surplus surplus) const {
  peers_->agree(
      str(topic_, "/copy-", num_copies_++), [&] { return compare(pieces); },
      [&](const std::vector<std::string>& answers) {
        WantedTensors::check(answers, index_.tensors, surplus == Surplus::kRefuse, folder_.string());
        return std::string();
      });
  ThreadPool pool(num_readers());
  std::vector<std::future<void>> fills;
  for (const NamedPiece& piece : pieces) fills.push_back(pool.submit([this, &piece] { fill(piece); }));
  wait_for_all(fills);
}

}  // namespace millrace
