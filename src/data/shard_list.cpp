// From patterns to files in three steps: resolves each text (a folder, a file, a pattern), selects the shards, and
// checks each shard in the file system. Entries dropped in the first two steps are counted and named.
#include "data/shard_list.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/text.h"
#include "data/expand_braces.h"
#include "data/glob_paths.h"
#include "data/hf_dataset.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

bool is_arrow(const fs::path& path) {
  return path.extension() == ".arrow";
}
bool is_tar(const fs::path& path) {
  return path.extension() == ".tar";
}

template <typename Predicate>
std::vector<fs::path> take_out(std::vector<fs::path>& paths, Predicate&& is_wanted) {
  std::vector<fs::path> kept, rest;
  for (fs::path& path : paths) (is_wanted(path) ? kept : rest).push_back(std::move(path));
  paths = std::move(rest);
  return kept;
}

// The files that one text stands for, before they are checked in the file system.
class Finder {
 public:
  std::vector<fs::path> find(const std::string& text) {
    passed_over_ = others_ = {};
    std::error_code error;
    const fs::file_status status = fs::status(text, error);
    std::vector<fs::path> found;
    if (status.type() == fs::file_type::directory) {
      found = folder(text);
    } else if (status.type() != fs::file_type::not_found) {
      if (error) fail(text, error.message());
      found = {text};  // an explicitly named file is used, whatever its name
    } else if (text.find_first_of("*?[~") != std::string::npos) {
      found = pattern(text);
    } else {
      fail(text, fs::is_symlink(text, error) ? "a dangling link" : "no such file");
    }
    if (found.empty()) {
      std::string got = is_folder_ ? "a folder without any *.tar or *.arrow" : "no such file";
      if (others_.count() > 0) got += ", but " + others_.text();
      if (passed_over_.count() > 0) got += "; passed over: " + passed_over_.text();
      fail(text, got);
    }
    if (passed_over_.count() > 0) log_warning("[", printable(text), "] passed over ", passed_over_.text());
    if (others_.count() > 0) log_info("[", printable(text), "] no shards by their names: ", others_.text());
    return found;
  }

 private:
  [[noreturn]] static void fail(const std::string& text, const std::string& got) {
    throw DataError("[" + printable(text) + "] expected tar shards or Arrow files, got " + got);
  }

  std::vector<fs::path> folder(const fs::path& path) {
    is_folder_ = true;
    FolderWalk walk = walk_folder(path, tar_name_rule);
    if (holds_hf_dataset(path)) {
      for (const fs::path& tar : walk.files)
        passed_over_.add(tar, "beside Arrow files, which are used; a pattern selects the tar shards");
      return list_hf_dataset(path);
    }
    passed_over_.add(walk.passed_over);
    others_.add(walk.others);
    return std::move(walk.files);
  }

  std::vector<fs::path> pattern(const std::string& text) {
    is_folder_ = false;
    std::vector<fs::path> found = glob_paths(text, passed_over_);
    std::error_code ignored;
    for (const fs::path& path : take_out(found, [&](const fs::path& p) { return !fs::exists(p, ignored); }))
      passed_over_.add(path, "a dangling link");
    const std::vector<fs::path> folders =
        take_out(found, [&](const fs::path& path) { return fs::is_directory(path, ignored); });
    for (const fs::path& path : take_out(found, [&](const fs::path& p) { return !fs::is_regular_file(p, ignored); }))
      passed_over_.add(path, "not a regular file");
    if (found.empty()) {
      std::vector<fs::path> files;
      for (const fs::path& path : folders) add_folder(path, files);
      is_folder_ = !folders.empty();
      return files;
    }
    for (const fs::path& path : folders) passed_over_.add(path, "a folder beside files");

    // "data_set/*" also matches dataset_info.json and state.json, which lists the files.
    std::vector<fs::path> shards = take_out(found, is_arrow);
    if (!shards.empty()) {
      for (const fs::path& path : found) {
        if (path.filename() == "state.json") check_hf_files(path);
        if (is_tar(path)) passed_over_.add(path, "beside Arrow files, which are used");
      }
    } else {
      shards = take_out(found, is_tar);
    }
    if (shards.empty()) return found;
    for (const fs::path& path : found) {
      const NameKind kind = tar_name_rule(path.filename().string());
      if (kind == NameKind::kDoubtful) passed_over_.add(path, "by its name");
      if (kind == NameKind::kOther) others_.add(path, "");
    }
    return shards;
  }

  void add_folder(const fs::path& path, std::vector<fs::path>& files) {
    try {
      const std::vector<fs::path> inside = folder(path);
      files.insert(files.end(), inside.begin(), inside.end());
    } catch (const Error& error) {
      if (holds_hf_dataset(path)) throw;  // a data set with a hole
      passed_over_.add(path, "not readable");
    }
  }

  bool is_folder_ = false;
  PassedOver passed_over_, others_;
};

fs::path common_folder(const std::vector<fs::path>& paths) {
  fs::path common = paths.front().parent_path();
  for (const fs::path& path : paths) {
    const fs::path folder = path.parent_path();
    const auto [end, rest] = std::mismatch(common.begin(), common.end(), folder.begin(), folder.end());
    fs::path shared;
    for (auto part = common.begin(); part != end; ++part) shared /= *part;
    common = shared;
  }
  return common;
}

ShardFile describe(const fs::path& path, const fs::path& base) {
  ShardFile shard{path, path.lexically_relative(base).generic_string(), 0,
                  is_arrow(path) ? ShardKind::kArrow : ShardKind::kTar};
  std::error_code error;
  const bool is_regular = fs::is_regular_file(path, error);
  shard.size = is_regular ? fs::file_size(path, error) : 0;
  std::string got;
  if (error) {
    got = error.message();
  } else if (!is_regular) {
    got = "something other than a regular file";
  } else if (shard.size == 0) {
    got = "an empty file";
  } else if (::faccessat(AT_FDCWD, path.c_str(), R_OK, AT_EACCESS) != 0) {
    got = std::strerror(errno);
  }
  if (!got.empty())
    shard.problem =
        str("expected ", shard.kind == ShardKind::kArrow ? "an Arrow file" : "a tar archive", ", got ", got);
  return shard;
}

}  // namespace

NameKind tar_name_rule(std::string_view name) {
  if (is_tar(name)) return NameKind::kWanted;
  const std::string lower = to_lower(name);
  const bool may_hold_samples =
      lower.find(".tar") != std::string::npos || ends_with(lower, ".tgz") || ends_with(lower, ".arrow");
  return may_hold_samples ? NameKind::kDoubtful : NameKind::kOther;
}

std::vector<ShardFile> list_shards(const std::vector<std::string>& patterns) {
  std::vector<fs::path> paths;
  std::set<fs::path> seen;
  Finder finder;
  for (const std::string& pattern : patterns) {
    // A file may have braces in its name.
    std::error_code ignored;
    const bool is_there = fs::status(pattern, ignored).type() != fs::file_type::not_found;
    for (const std::string& text : is_there ? std::vector{pattern} : expand_braces(pattern)) {
      for (const fs::path& path : finder.find(text)) {
        const fs::path whole = fs::absolute(path).lexically_normal();
        if (seen.insert(whole).second) paths.push_back(whole);
      }
    }
  }
  if (paths.empty()) throw DataError("[training.dataset_path] expected at least one shard, got none");

  const fs::path base = common_folder(paths);
  std::vector<ShardFile> shards;
  PassedOver odd_names;
  for (const fs::path& path : paths) {
    shards.push_back(describe(path, base));
    if (!is_valid_utf8(path.string())) odd_names.add(path, "");
  }
  if (odd_names.count() > 0)
    log_warning("[", printable(base.string()),
                "] expected names in UTF-8, got others, whose files are still used: ", odd_names.text());
  return shards;
}

uint64_t fingerprint(const std::vector<ShardFile>& shards) {
  std::string text;
  for (const ShardFile& shard : shards) text += shard.name + '\0' + std::to_string(shard.size) + '\0';
  return checksum64(text.data(), text.size());
}

}  // namespace millrace
