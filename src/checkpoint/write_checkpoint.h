// Writes one checkpoint to disk, complete or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/named_piece.h"
#include "checkpoint/peers.h"

namespace millrace {

// Writes a temporary folder beside the final one: every rank its shard, then rank 0 the index of all, each on the disk
// before the next; reads back what the file system says it has; renames. Whatever fails, even a process, the
// checkpoints that were there before stay as they were and no step folder is incomplete. pieces: this rank's, on the
// CPU and contiguous; those of all ranks together must cover each tensor once. state_json: rank 0's counts. All ranks
// call it with the same topic (see Peers::agree), and all throw StorageError when one fails. Returns the bytes that all
// wrote.
uint64_t write_checkpoint(const std::filesystem::path& folder, int64_t step, const std::vector<NamedPiece>& pieces,
                          const std::string& state_json, Peers& peers, const std::string& topic);

}  // namespace millrace
