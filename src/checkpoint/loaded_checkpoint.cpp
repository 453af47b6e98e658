#include "checkpoint/loaded_checkpoint.h"

#include <algorithm>
#include <future>
#include <set>
#include <thread>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/shard_header.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// The differences between what is wanted and what is there; the first few are told, the rest counted.
class Differences {
 public:
  void add(const std::string& difference) {
    if (++count_ <= kShown) text_ += "\n  " + difference;
  }
  void throw_if_any(const fs::path& folder) const {
    if (count_ == 0) return;
    throw ModelError(str("[", folder.string(),
                         "] expected the tensors of this configuration's model and optimizer, got ", count_,
                         count_ == 1 ? " difference" : " differences",
                         " (try the configuration that the checkpoint was made with):", text_,
                         count_ > kShown ? str("\n  and ", count_ - kShown, " more") : ""));
  }

 private:
  static constexpr int kShown = 5;
  int count_ = 0;
  std::string text_;
};

std::string describe(DType dtype, std::span<const int64_t> shape) {
  return str(dtype_name(dtype), " ", shape_text(shape));
}

CheckpointFile open_shard(const fs::path& path, const CheckpointFile& expected) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  if (error) throw StorageError(str("[", path.string(), "] expected a file, got: ", error.message()));
  if (size != expected.size) {
    throw StorageError(str("[", path.string(), "] expected ", expected.size, " bytes, got ", size));
  }
  return describe_shard(path);
}

// The newest checkpoint below `step` that can be loaded, or -1.
int64_t newest_complete_below(const fs::path& folder, int64_t step) {
  std::vector<int64_t> steps = checkpoint_steps(folder);
  for (auto other = steps.rbegin(); other != steps.rend(); ++other) {
    if (*other >= step) continue;
    try {
      LoadedCheckpoint{folder / step_folder_name(*other)};
      return *other;
    } catch (const Error&) {  // damaged as well
    }
  }
  return -1;
}

std::string list_steps(const std::vector<int64_t>& steps) {
  std::string text;
  const size_t first = steps.size() > 10 ? steps.size() - 10 : 0;
  for (size_t i = first; i < steps.size(); ++i) text += (text.empty() ? "" : ", ") + std::to_string(steps[i]);
  return text;
}

}  // namespace

LoadedCheckpoint::LoadedCheckpoint(const fs::path& step_folder)
    : folder_(step_folder), index_(read_checkpoint_index(step_folder / kCheckpointIndexName)) {
  for (const auto& [name, expected] : index_.files) {
    const fs::path path = folder_ / name;
    const CheckpointFile found = open_shard(path, expected);
    if (found.header_checksum != expected.header_checksum) {
      throw StorageError(str("[", path.string(), "] expected a header with checksum ",
                             checksum_text(expected.header_checksum), ", got ", checksum_text(found.header_checksum)));
    }
    files_.emplace(name, path);
  }
  for (const auto& [name, tensor] : index_.tensors) check_pieces(name, tensor);
  check_checksums();
}

const TensorView& LoadedCheckpoint::view_of(const CheckpointPiece& piece) const {
  const TensorView* view = files_.at(piece.file).find(piece.name);
  if (!view) {
    throw StorageError(str("[", (folder_ / piece.file).string(), "] expected a tensor ", piece.name, ", got none"));
  }
  return *view;
}

void LoadedCheckpoint::check_pieces(const std::string& name, const CheckpointTensor& tensor) const {
  for (const CheckpointPiece& piece : tensor.pieces) {
    const TensorView& view = view_of(piece);
    if (view.dtype == tensor.dtype && view.shape == piece.shape) continue;
    throw StorageError(str("[", (folder_ / piece.file).string(), "] expected ", name, " as ",
                           describe(tensor.dtype, piece.shape), ", got ", describe(view.dtype, view.shape)));
  }
}

void LoadedCheckpoint::check_checksums() const {
  // Reading is what takes time; more readers than this do not make a disk faster.
  ThreadPool pool(static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, 8u)));
  std::vector<std::future<void>> checks;
  for (const auto& [name, tensor] : index_.tensors) {
    for (const CheckpointPiece& piece : tensor.pieces) {
      checks.push_back(pool.submit([this, &name, &piece] {
        const std::span<const std::byte> bytes = view_of(piece).bytes;
        const uint64_t found = checksum64(bytes.data(), bytes.size());
        if (found == piece.checksum) return;
        throw StorageError(str("[", (folder_ / piece.file).string(), "] expected tensor ", name, " with checksum ",
                               checksum_text(piece.checksum), ", got ", checksum_text(found)));
      }));
    }
  }
  for (std::future<void>& check : checks) check.get();
}

torch::Tensor LoadedCheckpoint::piece_tensor(const CheckpointPiece& piece) const {
  return to_tensor(view_of(piece), files_.at(piece.file).keep_alive());
}

torch::Tensor LoadedCheckpoint::tensor(const std::string& name) const {
  const auto found = index_.tensors.find(name);
  if (found == index_.tensors.end()) {
    throw ModelError(str("[", folder_.string(), "] expected a tensor ", name, ", got none"));
  }
  const CheckpointTensor& tensor = found->second;
  if (tensor.pieces.size() == 1) return piece_tensor(tensor.pieces.front()).view(tensor.shape);
  torch::Tensor whole = torch::empty(tensor.shape, to_scalar_type(tensor.dtype));
  copy_pieces(tensor, whole);
  return whole;
}

void LoadedCheckpoint::copy_pieces(const CheckpointTensor& source, const torch::Tensor& target) const {
  const torch::NoGradGuard no_grad;
  for (const CheckpointPiece& piece : source.pieces) {
    torch::Tensor part = target;
    if (piece.start.empty()) {
      int64_t size = 1;
      for (const int64_t length : piece.shape) size *= length;
      part = target.view(-1).narrow(0, piece.offset, size).view(piece.shape);
    } else {
      for (size_t dim = 0; dim < piece.start.size(); ++dim) {
        part = part.narrow(static_cast<int64_t>(dim), piece.start[dim], piece.shape[dim]);
      }
    }
    part.copy_(piece_tensor(piece));
  }
}

void LoadedCheckpoint::copy_into(const std::vector<NamedTensor>& tensors, Surplus surplus) const {
  Differences differences;
  std::set<std::string> wanted;
  for (const auto& [name, tensor] : tensors) {
    MILLRACE_CHECK(wanted.insert(name).second && tensor.is_contiguous());
    const auto found = index_.tensors.find(name);
    if (found == index_.tensors.end()) {
      differences.add(str(name, " is missing"));
      continue;
    }
    const std::string is = describe(found->second.dtype, found->second.shape);
    const std::string want = describe(to_dtype(tensor.scalar_type(), name), tensor.sizes());
    if (is != want) differences.add(str(name, " is ", is, ", wanted ", want));
  }
  for (const auto& [name, tensor] : index_.tensors) {
    if (surplus == Surplus::kRefuse && !wanted.contains(name)) differences.add(str(name, " is not wanted"));
  }
  differences.throw_if_any(folder_);
  for (const auto& [name, tensor] : tensors) copy_pieces(index_.tensors.at(name), tensor);
}

LoadedCheckpoint load_checkpoint(const fs::path& folder, int64_t step) {
  const std::vector<int64_t> steps = checkpoint_steps(folder);
  if (steps.empty()) throw StorageError(str("[", folder.string(), "] expected a checkpoint, got none"));
  if (step < 0) step = steps.back();
  if (!std::binary_search(steps.begin(), steps.end(), step)) {
    throw StorageError(str("[", folder.string(), "] expected a checkpoint of step ", step, ", got steps ",
                           list_steps(steps), " (try --checkpoint.load_step=", steps.back(), ")"));
  }
  try {
    LoadedCheckpoint loaded(folder / step_folder_name(step));
    if (loaded.step() == step) return loaded;
    throw StorageError(str("[", (folder / step_folder_name(step) / kCheckpointIndexName).string(), "] expected step ",
                           step, ", got ", loaded.step()));
  } catch (const Error& error) {
    const int64_t other = newest_complete_below(folder, step);
    const std::string way_out = other >= 0
                                    ? str("try --checkpoint.load_step=", other, ", the newest complete one before it")
                                    : str("there is no complete one before it; remove the folder to start anew");
    throw StorageError(str(error.what(), ": the checkpoint of step ", step, " is damaged (", way_out, ")"));
  }
}

}  // namespace millrace
