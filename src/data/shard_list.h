// Resolves the paths that a user writes into a list of files.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/folder_walk.h"

namespace millrace {

enum class ShardKind { kTar, kArrow, kDummy };

struct ShardFile {
  std::filesystem::path path;
  std::string name;  // relative to the folder that contains all shards, so that moving the data set does not change it
  uint64_t size = 0;
  ShardKind kind = ShardKind::kTar;  // by file name: *.arrow is Arrow, anything else tar
  // Set for a file known not to be a shard: "expected a tar archive, got an empty file". open_shard() then treats it as
  // lost entirely.
  std::string problem = {};
};

// Files, globs, brace ranges and folders, in the order given, each file once, globs sorted. A folder stands for the
// files of the Hugging Face data set saved there (*.arrow), else for every *.tar below (see walk_folder()). A glob that
// matches any *.arrow stands for these, else for its *.tar, else for all files that it matches, else for the folders
// that it matches. Skipped entries are logged with their number and the first names. Throws DataError naming an entry
// that is missing, unreadable or matches nothing. A file that is empty or unreadable is
// listed with its problem.
std::vector<ShardFile> list_shards(const std::vector<std::string>& patterns);

// A hash of all names and sizes: changes when a shard is added, removed, renamed or rewritten with another length.
uint64_t fingerprint(const std::vector<ShardFile>& shards);

// Judges file names for walk_folder(): *.tar is wanted, "a.tar.gz" and "a.arrow" are doubtful.
NameKind tar_name_rule(std::string_view name);

}  // namespace millrace
