// From what a user writes to the list of files that it means.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace millrace {

enum class ShardKind { kTar, kArrow, kDummy };

struct ShardFile {
  std::filesystem::path path;
  std::string name;  // relative to the folder that holds all shards: moving the data set does not change it
  uint64_t size = 0;
  ShardKind kind = ShardKind::kTar;  // of a file: *.arrow is Arrow, anything else tar
};

// "a-{00..02}-{x,y}" -> six texts. Ranges keep leading zeros. Throws DataError for a range that is none or for more
// than a million texts.
std::vector<std::string> expand_braces(const std::string& pattern);

// Files, globs, brace ranges and folders, in the order given, each file once, globs sorted. A folder stands for the
// files of the Hugging Face data set saved there (*.arrow), else for every *.tar below; so does a glob that matches any
// *.arrow, whatever else it matches. Throws DataError naming the pattern that matches nothing, and the file that is no
// readable file or empty.
std::vector<ShardFile> list_shards(const std::vector<std::string>& patterns);

// A hash of all names and sizes: changes when a shard is added, removed, renamed or rewritten at another length.
uint64_t fingerprint(const std::vector<ShardFile>& shards);

}  // namespace millrace
