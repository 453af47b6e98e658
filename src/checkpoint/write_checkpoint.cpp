#include "checkpoint/write_checkpoint.h"

#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <system_error>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/checkpoint_index.h"
#include "checkpoint/piece_stream.h"
#include "checkpoint/shard_header.h"
#include "formats/safetensors_layout.h"
#include "nn/tensor_io.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

// The data that one rank writes: its file's tensors, and the piece that each one is.
struct Shard {
  std::vector<const NamedPiece*> pieces;
  std::vector<TensorView> tensors;  // without bytes

  uint64_t num_bytes() const {
    uint64_t total = 0;
    for (const NamedPiece* piece : pieces) total += piece->data.nbytes();
    return total;
  }
};

// A whole tensor keeps its shape, so that any program that reads safetensors understands it; a run is flat.
std::vector<int64_t> shape_in_file(const NamedPiece& piece) {
  if (piece.is_box()) return piece.shape;
  if (piece.data.numel() == element_count(piece.global_shape)) return piece.global_shape;
  return {piece.data.numel()};
}

Shard make_shard(const std::vector<NamedPiece>& pieces) {
  Shard shard;
  std::map<std::string, int> times_used;
  for (const NamedPiece& piece : pieces) {
    check_piece(piece);
    if (!piece.saved || (piece.data.numel() == 0 && element_count(piece.global_shape) > 0)) continue;
    const int times = times_used[piece.name]++;
    shard.pieces.push_back(&piece);
    TensorView& view = shard.tensors.emplace_back();
    view.name = times == 0 ? piece.name : str(piece.name, "@", times);
    view.dtype = to_dtype(piece.data.scalar_type(), piece.name);
    view.shape = shape_in_file(piece);
  }
  return shard;
}

// Writes the shard's file; returns the tensors' checksums. Hashing is several times faster than writing and only needs
// another core.
std::vector<uint64_t> write_tensors(const fs::path& path, const Shard& shard) {
  const SafetensorsMetadata metadata = {{"format", "pt"}};
  const std::vector<size_t> order = lay_out_safetensors(shard.tensors, metadata, path.string()).order;
  std::vector<torch::Tensor> in_order;
  for (const size_t i : order) in_order.push_back(shard.pieces[i]->data);
  PieceStream stream(std::move(in_order));
  write_safetensors_streamed(
      path, shard.tensors, [&](size_t /*index*/) { return stream.next(); }, metadata);
  const std::vector<uint64_t> checksums = stream.checksums();
  std::vector<uint64_t> by_tensor(checksums.size());
  for (size_t i = 0; i < order.size(); ++i) by_tensor[order[i]] = checksums[i];
  return by_tensor;
}

// Better to find out before than after writing half of it.
void check_free_space(const fs::path& folder, uint64_t needed) {
  std::error_code error;
  const fs::space_info space = fs::space(folder, error);
  if (error || space.available >= needed) return;
  throw StorageError(str("[", folder.string(), "] expected ", human_bytes(needed),
                         " of free space for a checkpoint, got ", human_bytes(space.available),
                         " (try a smaller --checkpoint.keep_latest_k)"));
}

// Compares the file system's content with the intended one; the bytes themselves are verified when loading.
CheckpointFile read_back(const fs::path& path, std::span<const TensorView> tensors) {
  const SafetensorsFile file(path);
  for (const TensorView& tensor : tensors) {
    const TensorView* found = file.find(tensor.name);
    if (!found || found->dtype != tensor.dtype || found->shape != tensor.shape) {
      throw StorageError(str("[", path.string(), "] expected tensor ", tensor.name, " as written, got something else"));
    }
  }
  return describe_shard(path);
}

// This rank's part of the index.
CheckpointIndex write_shard(const fs::path& temporary, const std::string& file, const Shard& shard) {
  CheckpointIndex index;
  if (shard.tensors.empty()) return index;
  const std::vector<uint64_t> checksums = write_tensors(temporary / file, shard);
  index.files[file] = read_back(temporary / file, shard.tensors);
  for (size_t i = 0; i < shard.pieces.size(); ++i) {
    const NamedPiece& piece = *shard.pieces[i];
    const TensorView& view = shard.tensors[i];
    CheckpointTensor& tensor = index.tensors[piece.name];
    if (!tensor.pieces.empty()) MILLRACE_CHECK(tensor.dtype == view.dtype && tensor.shape == piece.global_shape);
    tensor.dtype = view.dtype;
    tensor.shape = piece.global_shape;
    tensor.pieces.push_back({file, view.name, piece.offset, piece.start, view.shape, checksums[i]});
  }
  return index;
}

// On rank 0, when all ranks have written theirs.
void write_index(const fs::path& temporary, CheckpointIndex index, const std::vector<std::string>& other_parts) {
  for (const std::string& part : other_parts) add_part(index, parse_checkpoint_index(part, "a rank's pieces"));
  const fs::path path = temporary / kCheckpointIndexName;
  check_complete(index, path.string());
  write_file_atomically(path, to_json(index));
  fsync_folder(temporary);
}

// Rank 0 makes the temporary folder; every rank gets its path and the total bytes to write.
std::pair<fs::path, uint64_t> begin(const fs::path& folder, int64_t step, uint64_t num_bytes, Peers& peers,
                                    const std::string& topic) {
  const std::string answer = peers.agree(
      topic + "/begin",
      [&] {
        return Json{step, num_bytes}.dump();
      },
      [&](const std::vector<std::string>& ranks) {
        uint64_t total = 0;
        for (const std::string& text : ranks) {
          const Json rank = Json::parse(text);
          MILLRACE_CHECK(rank.at(0).get<int64_t>() == step);
          total += rank.at(1).get<uint64_t>();
        }
        check_free_space(folder, total + total / 10);
        const fs::path temporary = temporary_path(folder, step_folder_name(step));
        create_folders(temporary);
        return Json{temporary.filename().string(), total}.dump();
      });
  const Json verdict = Json::parse(answer);
  return {folder / verdict.at(0).get<std::string>(), verdict.at(1).get<uint64_t>()};
}

}  // namespace

uint64_t write_checkpoint(const fs::path& folder, int64_t step, const std::vector<NamedPiece>& pieces,
                          const std::string& state_json, Peers& peers, const std::string& topic) {
  const Shard shard = make_shard(pieces);
  const auto [temporary, num_bytes] = begin(folder, step, shard.num_bytes() + state_json.size(), peers, topic);
  try {
    CheckpointIndex part;  // on rank 0 it becomes the whole
    peers.agree(
        topic + "/write",
        [&, &temporary = temporary] {
          part = write_shard(temporary, shard_file_name(peers.rank(), peers.size()), shard);
          part.step = step;
          part.world_size = peers.size();
          return peers.rank() == 0 ? std::string() : to_json(part);
        },
        [&, &temporary = temporary](const std::vector<std::string>& parts) {
          part.state_json = state_json;
          write_index(temporary, std::move(part), {parts.begin() + 1, parts.end()});
          commit_step(folder, temporary, step);
          return std::string();
        });
  } catch (...) {
    std::error_code ignored;
    if (peers.rank() == 0) fs::remove_all(temporary, ignored);
    throw;
  }
  return num_bytes;
}

}  // namespace millrace
