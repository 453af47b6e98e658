#include "base/folder_walk.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <system_error>

#include "base/error.h"
#include "base/printable.h"
#include "base/text.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr size_t kNamed = 5;

class Walker {
 public:
  Walker(const NameRule& rule, bool is_deep) : rule_(rule), is_deep_(is_deep) {}

  FolderWalk walk(const fs::path& root) {
    std::error_code error;
    enter(root, error);
    if (error)
      throw DataError("[" + printable(root.string()) + "] expected a folder that can be read, got: " + error.message());
    // After all real folders, so that a folder keeps its own name even if a link also leads to it.
    for (; !links_.empty(); links_.pop_front()) enter_or_name(links_.front());
    std::sort(result_.files.begin(), result_.files.end());
    return std::move(result_);
  }

 private:
  using Identity = std::pair<dev_t, ino_t>;

  void enter_or_name(const fs::path& folder) {
    std::error_code error;
    enter(folder, error);
    if (error) result_.passed_over.add(folder, error.message());
  }

  void enter(const fs::path& folder, std::error_code& error) {
    struct stat info {};
    if (::stat(folder.c_str(), &info) != 0) return error.assign(errno, std::generic_category());
    const auto [entered, is_new] = entered_.emplace(Identity(info.st_dev, info.st_ino), folder);
    if (!is_new) return result_.passed_over.add(folder, "the same folder as " + printable(entered->second.string()));

    std::vector<fs::directory_entry> entries;
    for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
      entries.push_back(*entry);
    std::sort(entries.begin(), entries.end());
    std::vector<fs::path> folders;
    for (const fs::directory_entry& entry : entries) take(entry, folders);
    for (const fs::path& inner : folders) enter_or_name(inner);
  }

  void take(const fs::directory_entry& entry, std::vector<fs::path>& folders) {
    const std::string name = entry.path().filename().string();
    std::error_code error;
    const bool is_link = entry.is_symlink(error);
    const fs::file_status status = entry.status(error);  // behind links
    const bool is_hidden = name.starts_with('.');
    if (status.type() == fs::file_type::directory) {
      if (!is_deep_) return;
      if (is_hidden) return result_.passed_over.add(entry.path(), "hidden");
      return is_link ? links_.push_back(entry.path()) : folders.push_back(entry.path());
    }
    const NameKind kind = rule_(name);
    if (kind == NameKind::kOther && (is_hidden || status.type() == fs::file_type::regular))
      return result_.others.add(entry.path(), "");
    if (is_hidden) return result_.passed_over.add(entry.path(), "hidden");
    if (status.type() == fs::file_type::not_found)
      return result_.passed_over.add(entry.path(), is_link ? "a dangling link" : "gone");
    if (status.type() == fs::file_type::none || status.type() == fs::file_type::unknown)
      return result_.passed_over.add(entry.path(), error ? error.message() : "of no known type");
    if (status.type() != fs::file_type::regular) {
      PassedOver& list = kind == NameKind::kOther ? result_.others : result_.passed_over;
      return list.add(entry.path(), "not a regular file");
    }
    if (kind == NameKind::kDoubtful) return result_.passed_over.add(entry.path(), "by its name");
    result_.files.push_back(entry.path());
  }

  const NameRule& rule_;
  const bool is_deep_;
  FolderWalk result_;
  std::map<Identity, fs::path> entered_;
  std::deque<fs::path> links_;  // to folders
};

}  // namespace

void PassedOver::add(const fs::path& path, const std::string& reason) {
  ++count_;
  if (first_.size() < kNamed) first_.emplace_back(path.string(), reason);
}

void PassedOver::add(const PassedOver& other) {
  count_ += other.count_;
  for (const auto& entry : other.first_) {
    if (first_.size() < kNamed) first_.push_back(entry);
  }
}

std::string PassedOver::text() const {
  std::string text = with_thousands(count_) + (count_ == 1 ? " entry: " : " entries: ");
  for (size_t i = 0; i < first_.size(); ++i) {
    const auto& [path, reason] = first_[i];
    text += (i > 0 ? ", " : "") + printable(path) + (reason.empty() ? "" : " (" + reason + ")");
  }
  return count_ > static_cast<int64_t>(first_.size()) ? text + ", ..." : text;
}

FolderWalk walk_folder(const fs::path& folder, const NameRule& rule, bool is_deep) {
  return Walker(rule, is_deep).walk(folder);
}

}  // namespace millrace
