// A complete checkpoint, verified, with its tensors still on the disk.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/checkpoint_index.h"
#include "checkpoint/named_piece.h"
#include "checkpoint/peers.h"
#include "checkpoint/shard_files.h"

namespace millrace {

// What to do with tensors of the checkpoint that no rank asked for.
enum class Surplus { kRefuse, kIgnore };

class LoadedCheckpoint {
 public:
  // Opens and verifies every file, piece and checksum. Throws StorageError naming the first that is damaged.
  explicit LoadedCheckpoint(const std::filesystem::path& step_folder);
  // Collective: each rank verifies a share of the bytes. All ranks pass the same topic (see Peers::agree), and all
  // throw when one finds damage or an index that differs from the others'.
  LoadedCheckpoint(const std::filesystem::path& step_folder, std::shared_ptr<Peers> peers, std::string topic);

  int64_t step() const { return index_.step; }
  int64_t world_size() const { return index_.world_size; }  // of the run that wrote it
  const std::string& state_json() const { return index_.state_json; }
  const std::map<std::string, CheckpointTensor>& tensors() const { return index_.tensors; }

  // The whole tensor, on the CPU; read-only and mapped from the file if it is one piece. Outlives this object. Throws
  // ModelError when no tensor has this name.
  torch::Tensor tensor(const std::string& name) const;
  // The same in separate memory; no pages of the file stay resident.
  torch::Tensor read(const std::string& name) const;

  // Fills existing tensors, strided or not, on any device, reading only the bytes they hold. All ranks that loaded the
  // checkpoint together call it, each with its own pieces. Throws ModelError listing the first few tensors that are
  // missing, surplus (wanted by no rank) or of another shape or dtype; then no rank's tensors were changed.
  void copy_into(const std::vector<NamedPiece>& pieces, Surplus surplus = Surplus::kRefuse) const;
  void copy_into(const std::vector<NamedTensor>& tensors, Surplus surplus = Surplus::kRefuse) const {
    copy_into(whole_pieces(tensors), surplus);
  }

 private:
  const CheckpointTensor& find(const std::string& name) const;
  std::string open_and_verify_share(int rank, int size);
  std::string compare(const std::vector<NamedPiece>& pieces) const;
  void fill(const NamedPiece& piece) const;

  std::filesystem::path folder_;
  std::shared_ptr<Peers> peers_;
  std::string topic_;
  CheckpointIndex index_;
  std::shared_ptr<ShardFiles> files_;
  mutable int num_copies_ = 0;
};

// How the reader of a message can select a step other than the damaged one.
enum class AskForStep { kByLoadStep, kByStep, kByPath };  // --checkpoint.load_step=N, --step=N, FOLDER/step-N

// Loads and verifies a step from the folder of a run's checkpoints; -1 is the latest, kBestStep (best_checkpoint.h) the
// one kept as the best. Reading needs no lock and changes nothing. Throws StorageError when the step does not exist, is
// damaged or lacks a file; the message then names the newest complete checkpoint before it. Warns of other steps'
// folders without an index.
LoadedCheckpoint load_checkpoint(const std::filesystem::path& folder, int64_t step = -1,
                                 AskForStep ask = AskForStep::kByLoadStep);
// Collective over all ranks; rank 0 finds the step.
LoadedCheckpoint load_checkpoint(const std::filesystem::path& folder, int64_t step, std::shared_ptr<Peers> peers,
                                 const std::string& topic, AskForStep ask = AskForStep::kByLoadStep);
// The index of the step that load_checkpoint() would load, on this rank alone; checks the files' sizes, but does not
// read them. Throws as load_checkpoint() does.
CheckpointIndex look_into_checkpoint(const std::filesystem::path& folder, int64_t step = -1,
                                     AskForStep ask = AskForStep::kByLoadStep);

}  // namespace millrace
