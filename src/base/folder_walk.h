// The files below a folder: one walk for every command that looks for the files of a data set.
//
// Links to folders are followed, and each folder is entered once, which ends loops. Entries whose names begin with a
// dot and unreadable entries are left out; all of these are counted, and the first few are named.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace {

// The entries left out, summarised so that they always fit on one line of a message.
class PassedOver {
 public:
  // reason: "hidden", "Permission denied"
  void add(const std::filesystem::path& path, const std::string& reason);
  void add(const PassedOver& other);
  int64_t count() const { return count_; }
  // "3 entries: /data/._a.tar (hidden), /data/lost+found (Permission denied), ..."; names as printable()
  std::string text() const;

 private:
  int64_t count_ = 0;
  std::vector<std::pair<std::string, std::string>> first_;  // the first few paths and their reasons
};

enum class NameKind {
  kWanted,
  kDoubtful,  // not wanted, but may contain wanted files: skipped, and named
  kOther,     // something else: only counted
};
using NameRule = std::function<NameKind(std::string_view name)>;

struct FolderWalk {
  std::vector<std::filesystem::path> files;  // regular files of wanted names, sorted
  PassedOver passed_over;                    // hidden, unreadable or looped; links to nothing; doubtful names
  PassedOver others;                         // files of other names
};

// rule: judges a file's name without its folder. is_deep: includes sub-folders. Throws DataError naming the folder when
// it is missing or unreadable; the named folder is walked even if it is hidden.
FolderWalk walk_folder(const std::filesystem::path& folder, const NameRule& rule, bool is_deep = true);

}  // namespace millrace
