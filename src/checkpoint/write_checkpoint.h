// Writes one checkpoint to disk, complete or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/named_piece.h"
#include "checkpoint/peers.h"

namespace millrace {

// Writes a temporary folder beside the final one: every rank syncs its shard to disk, then rank 0 the index of all
// shards; reads back file sizes; renames. Whatever fails, even a process, existing checkpoints remain unchanged and no
// step folder is incomplete. pieces: this rank's, on any device; together all ranks' pieces must cover each
// tensor once. state_json: only rank 0's is used. All ranks call it with the same topic (see Peers::agree), and all
// throw StorageError when one fails. Returns the number of bytes written by
// all ranks.
uint64_t write_checkpoint(const std::filesystem::path& folder, int64_t step, const std::vector<NamedPiece>& pieces,
                          const std::string& state_json, Peers& peers, const std::string& topic);

}  // namespace millrace
