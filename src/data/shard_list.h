// From what a user writes to the list of files that it means.
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
  std::string name;  // relative to the folder that holds all shards: moving the data set does not change it
  uint64_t size = 0;
  ShardKind kind = ShardKind::kTar;  // of a file: *.arrow is Arrow, anything else tar
  // Set for a file that is known not to be a shard: "expected a tar archive, got an empty file". open_shard() then
  // takes it for one of which all is lost.
  std::string problem = {};
};

// Files, globs, brace ranges and folders, in the order given, each file once, globs sorted. A folder stands for the
// files of the Hugging Face data set saved there (*.arrow), else for every *.tar below (see walk_folder()). A glob that
// matches any *.arrow stands for these, else for its *.tar, else for all files that it matches, else for the folders
// that it matches. What is passed over on the way is logged with its number and the first names.
// Throws DataError naming what is missing, unreadable or matches nothing. A file that is empty or may not be read is
// listed with its problem.
std::vector<ShardFile> list_shards(const std::vector<std::string>& patterns);

// A hash of all names and sizes: changes when a shard is added, removed, renamed or rewritten at another length.
uint64_t fingerprint(const std::vector<ShardFile>& shards);

// Judges the files' own names, for walk_folder(): *.tar is wanted, "a.tar.gz" and "a.arrow" are doubtful.
NameKind tar_name_rule(std::string_view name);

}  // namespace millrace
