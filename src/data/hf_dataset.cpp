#include "data/hf_dataset.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <regex>
#include <set>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/printable.h"
#include "base/text.h"
#include "data/glob_paths.h"
#include "formats/json.h"
#include "formats/quote.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxJsonBytes = uint64_t{64} << 20;

nlohmann::json read_json(const fs::path& path) {
  return parse_json<DataError>(read_file(path, kMaxJsonBytes), path.string());
}

[[noreturn]] void fail(const std::string& path, const std::string& got) {
  throw DataError(str("[", path, "] expected a folder written by `datasets` (save_to_disk), an .arrow file or a ",
                      "pattern that matches such files, got ", got));
}

// The files listed in state.json. They must be in the folder itself.
std::vector<fs::path> files_of_state(const fs::path& folder) {
  const fs::path path = folder / "state.json";
  const nlohmann::json state = read_json(path);
  const auto files = state.find("_data_files");
  if (files == state.end() || !files->is_array())
    throw DataError(str("[", path.string(), "] expected the list _data_files, got none"));
  std::vector<fs::path> paths;
  for (const nlohmann::json& file : *files) {
    const auto name = file.find("filename");
    if (!file.is_object() || name == file.end() || !name->is_string())
      throw DataError(str("[", path.string(), "] expected a filename for each of _data_files, got ", file.dump()));
    const auto& text = name->get_ref<const std::string&>();
    if (text.empty() || text == ".." || text.find_first_of(std::string("/\0", 2)) != std::string::npos)
      throw DataError(str("[", path.string(), "] expected names of files in this folder, got ", in_quotes(text)));
    if (!fs::is_regular_file(folder / text))
      throw DataError(str("[", path.string(), "] expected the file ", in_quotes(text), " beside it, got none"));
    paths.push_back(folder / text);
  }
  return paths;
}

// Without state.json the names tell how many there should be: data-00003-of-00017.arrow.
void check_numbering(const fs::path& folder, const std::vector<fs::path>& files) {
  static const std::regex numbered("(.*)-([0-9]{1,9})-of-([0-9]{1,9})[.]arrow");
  std::map<std::pair<std::string, std::string>, std::set<int64_t>> found;  // by prefix and total
  for (const fs::path& file : files) {
    const std::string name = file.filename().string();
    std::smatch parts;
    if (std::regex_match(name, parts, numbered)) found[{parts[1], parts[3]}].insert(std::stoll(parts[2]));
  }
  for (const auto& [alike, numbers] : found) {
    const auto& [prefix, total] = alike;
    for (int64_t number = 0; number < std::stoll(total); ++number) {
      if (numbers.contains(number)) continue;
      throw DataError(str("[", folder.string(), "] expected ", total, " files named ", prefix, "-*-of-", total,
                          ".arrow, got none with the number ", number,
                          " (try downloading it, or a pattern that matches the existing files)"));
    }
  }
}

NameKind arrow_name_rule(std::string_view name) {
  return ends_with(name, ".arrow") ? NameKind::kWanted : NameKind::kOther;
}

std::vector<fs::path> files_of_folder(const fs::path& folder, bool must_be_whole) {
  if (fs::exists(folder / "dataset_dict.json")) {
    std::vector<std::string> splits;
    const nlohmann::json listing = read_json(folder / "dataset_dict.json");
    for (const auto& split : listing.value("splits", nlohmann::json::array())) {
      if (split.is_string()) splits.push_back((folder / split.get<std::string>()).string());
    }
    fail(folder.string(), str("a folder of splits (try ", splits.empty() ? "one of them" : join(splits, " or "), ")"));
  }
  if (fs::exists(folder / "state.json")) return files_of_state(folder);
  const FolderWalk walk = walk_folder(folder, arrow_name_rule, /*is_deep=*/false);
  if (must_be_whole) check_numbering(folder, walk.files);
  if (walk.passed_over.count() > 0)
    log_warning("[", printable(folder.string()), "] passed over ", walk.passed_over.text());
  return walk.files;
}

}  // namespace

bool holds_hf_dataset(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    if (arrow_name_rule(name) == NameKind::kWanted && !name.starts_with('.')) return true;
    if (name == "state.json" || name == "dataset_dict.json") return true;
  }
  return false;
}

void check_hf_files(const fs::path& state) {
  files_of_state(state.parent_path());
}

std::vector<fs::path> list_hf_dataset(const std::string& path, bool must_be_whole) {
  std::error_code ignored;
  std::vector<fs::path> files;
  const bool is_there = fs::exists(path, ignored);
  if (!is_there && path.find_first_of("*?[") == std::string::npos) fail(path, "nothing of that name");
  try {
    PassedOver passed_over;
    for (const fs::path& match : is_there ? std::vector<fs::path>{path} : glob_paths(path, passed_over)) {
      if (fs::is_directory(match)) {
        const std::vector<fs::path> inside = files_of_folder(match, must_be_whole);
        files.insert(files.end(), inside.begin(), inside.end());
      } else if (match.extension() == ".arrow") {
        files.push_back(match);
      } else if (match.filename() == "state.json") {
        check_hf_files(match);
      }
    }
    if (passed_over.count() > 0) log_warning("[", printable(path), "] passed over ", passed_over.text());
  } catch (const fs::filesystem_error& error) {
    throw StorageError(str("[", path, "] expected a folder that can be read, got: ", error.code().message()));
  }
  if (files.empty()) fail(path, is_there ? "no .arrow file" : "no match");
  return files;
}

std::string hf_data_file_name(int64_t index, int64_t count) {
  char name[64];
  std::snprintf(name, sizeof name, "data-%05lld-of-%05lld.arrow", static_cast<long long>(index),
                static_cast<long long>(count));
  return name;
}

void finish_hf_dataset(const fs::path& folder, const std::vector<ArrowColumnSpec>& columns,
                       const std::vector<HfDataFile>& files, const std::string& split) {
  using Json = nlohmann::ordered_json;
  const Json info = {
      {"citation", ""}, {"description", ""}, {"features", hf_features(columns)}, {"homepage", ""}, {"license", ""}};
  Json names = Json::array();
  std::string identity = info.dump();
  for (const HfDataFile& file : files) {
    names.push_back({{"filename", file.name}});
    identity += str("\n", file.name, " ", file.rows, " ", file.bytes);
  }
  const Json state = {{"_data_files", std::move(names)},
                      {"_fingerprint", checksum_text(checksum64(identity.data(), identity.size()))},
                      {"_format_columns", nullptr},
                      {"_format_kwargs", Json::object()},
                      {"_format_type", nullptr},
                      {"_output_all_columns", false},
                      {"_split", split.empty() ? Json() : Json(split)}};
  write_file_atomically(folder / "dataset_info.json", info.dump(2));
  write_file_atomically(folder / "state.json", state.dump(2));
}

}  // namespace millrace
