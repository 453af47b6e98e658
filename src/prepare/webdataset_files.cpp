#include "prepare/webdataset_files.h"

#include <algorithm>
#include <filesystem>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string> kTrain = {"train", "training"};
const std::vector<std::string> kOthers = {"validation", "valid", "dev", "val", "test", "testing", "eval", "evaluation"};

bool is_separator(char c) {
  return std::string("-._ 0123456789").find(c) != std::string::npos;
}

// Whether name contains a keyword between separators. A folder's name may end with it; a file's name may not.
bool holds(const std::string& name, const std::vector<std::string>& keywords, bool may_end) {
  for (const std::string& keyword : keywords) {
    for (size_t at = name.find(keyword); at != std::string::npos; at = name.find(keyword, at + 1)) {
      const size_t end = at + keyword.size();
      const bool begins = at == 0 || is_separator(name[at - 1]);
      const bool ends = end == name.size() ? may_end : is_separator(name[end]);
      if (begins && ends) return true;
    }
  }
  return false;
}

bool names_split(const fs::path& relative, const std::vector<std::string>& keywords, bool by_folder) {
  if (!by_folder) return holds(relative.filename().string(), keywords, false);
  const fs::path folders = relative.parent_path();
  return std::any_of(folders.begin(), folders.end(),
                     [&](const fs::path& folder) { return holds(folder.string(), keywords, true); });
}

}  // namespace

std::vector<ShardFile> choose_train_files(const std::string& path, std::vector<ShardFile> shards) {
  if (!fs::is_directory(path)) return shards;
  const fs::path folder = fs::absolute(path).lexically_normal();  // like the shards' paths
  std::sort(shards.begin(), shards.end(),
            [](const ShardFile& a, const ShardFile& b) { return a.path.string() < b.path.string(); });
  for (const bool by_folder : {true, false}) {
    std::vector<ShardFile> train;
    bool has_others = false;
    for (const ShardFile& shard : shards) {
      const fs::path relative = shard.path.lexically_relative(folder);
      if (names_split(relative, kTrain, by_folder)) {
        train.push_back(shard);
      } else {
        has_others = has_others || names_split(relative, kOthers, by_folder);
      }
    }
    if (train.empty() && has_others) {
      throw DataError(str("[", path, "] expected shards of a train split, got other splits alone ",
                          "(try the pattern of the files to take, \"", path, "/*.tar\")"));
    }
    if (!train.empty()) {
      if (train.size() < shards.size())
        log_info(path, ": the ", train.size(), " shards named after the train split, of ", shards.size());
      return train;
    }
  }
  return shards;
}

}  // namespace millrace
