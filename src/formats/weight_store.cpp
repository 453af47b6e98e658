#include "formats/weight_store.h"

#include <algorithm>
#include <fstream>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/gguf_names.h"
#include "formats/pickle.h"
#include "formats/quote.h"
#include "formats/weight_folder.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

bool has_gguf_content(const fs::path& path) {
  char head[4] = {};
  std::ifstream(path, std::ios::binary).read(head, sizeof head);
  return std::string_view(head, sizeof head) == kGgufMagic;
}

}  // namespace

WeightStore::WeightStore(const fs::path& path) : path_(path) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (!fs::exists(status)) {
    throw ModelError(str("[", path.string(),
                         "] expected a safetensors or GGUF file, an index json or a folder of them, got ",
                         "nothing of that name", error ? " (" + error.message() + ")" : ""));
  }
  if (fs::is_directory(status)) {
    folder_ = path;
    open_folder(path);
  } else if (!fs::is_regular_file(status)) {
    throw ModelError(str("[", path.string(), "] expected a file or a folder, got something that is neither"));
  } else {
    folder_ = path.parent_path().empty() ? "." : path.parent_path();
    if (ends_with(path.string(), ".json")) {
      open_index(path);
    } else {
      open_file(path, nullptr);
    }
  }
}

const TensorView* WeightStore::find(std::string_view name) const {
  const auto found = index_by_name_.find(name);
  return found == index_by_name_.end() ? nullptr : &tensors_[found->second];
}

void WeightStore::narrow_to(std::string_view prefix) {
  std::vector<TensorView> kept;
  std::map<std::string, size_t, std::less<>> index;
  std::map<std::string, fs::path, std::less<>> files;
  for (const TensorView& tensor : tensors_) {
    if (!starts_with(tensor.name, prefix)) continue;
    std::string name = tensor.name.substr(prefix.size());
    if (find(name)) {
      throw ModelError(str("[", path_.string(), "] expected each tensor once, got ", in_quotes(name),
                           " with and without ", in_quotes(prefix), " before it"));
    }
    index.emplace(name, kept.size());
    files.emplace(name, file_by_name_.at(tensor.name));
    kept.push_back(tensor);
    kept.back().name = std::move(name);
  }
  if (kept.empty()) return;
  tensors_ = std::move(kept);
  index_by_name_ = std::move(index);
  file_by_name_ = std::move(files);
}

std::vector<fs::path> WeightStore::files() const {
  std::vector<fs::path> paths;
  for (const SafetensorsFile& file : files_->safetensors) paths.push_back(file.path());
  for (const GgufFile& file : files_->gguf) paths.push_back(file.path());
  return paths;
}

const fs::path& WeightStore::file_of(std::string_view name) const {
  const auto found = file_by_name_.find(name);
  MILLRACE_CHECK(found != file_by_name_.end());
  return found->second;
}

// wanted: which of the file's tensors to take; empty for all.
void WeightStore::open_file(const fs::path& path, const std::function<bool(const std::string&)>& wanted) {
  refuse_pickle(path);
  if (has_gguf_content(path)) return open_gguf(path);
  const SafetensorsFile& file = files_->safetensors.emplace_back(path);
  for (const TensorView& tensor : file.tensors()) {
    if (!wanted || wanted(tensor.name)) add_tensor(tensor, path);
  }
  metadata_.insert(file.metadata().begin(), file.metadata().end());
}

void WeightStore::open_gguf(const fs::path& path) {
  const GgufFile& file = files_->gguf.emplace_back(path);
  GgufContent content{.tensors = file.tensors(), .metadata = file.metadata()};
  config_json_ = gguf_config_json(content, path.string());
  rename_gguf_tensors(content, path.string());
  for (const TensorView& tensor : content.tensors) add_tensor(tensor, path);
  metadata_.merge(file.metadata().as_text());
}

void WeightStore::add_tensor(const TensorView& tensor, const fs::path& path) {
  if (!index_by_name_.emplace(tensor.name, tensors_.size()).second) {
    throw ModelError(str("[", path.string(), "] expected tensors that no other file has, got ", in_quotes(tensor.name),
                         ", which is in ", file_by_name_.at(tensor.name).string(),
                         " too (try naming one file or an index json)"));
  }
  file_by_name_.emplace(tensor.name, path);
  tensors_.push_back(tensor);
}

void WeightStore::open_index(const fs::path& path) {
  const std::map<std::string, std::string> weight_map = read_weight_map(path);
  std::map<std::string, std::set<std::string>> names_by_file;
  for (const auto& [name, file] : weight_map) names_by_file[file].insert(name);
  for (const auto& [file, names] : names_by_file) {
    const fs::path shard = folder_ / file;
    if (!fs::exists(shard)) {
      throw ModelError(str("[", path.string(), "] expected the shard ", in_quotes(file), " beside it, which holds ",
                           names.size(), " tensors such as ", in_quotes(*names.begin()),
                           ", got no such file (try downloading it)"));
    }
    const size_t before = tensors_.size();
    open_file(shard, [&](const std::string& name) { return names.count(name) > 0; });
    if (tensors_.size() - before != names.size()) {
      const auto missing = std::find_if(names.begin(), names.end(), [&](const auto& name) { return !find(name); });
      throw ModelError(str("[", shard.string(), "] expected the tensor ", in_quotes(*missing), " that ",
                           path.filename().string(), " promises, got a file without it"));
    }
  }
}

void WeightStore::open_folder(const fs::path& path) {
  const WeightFolder found = search_weight_folder(path);
  if (!found.index.empty()) {
    open_index(found.index);
    return;
  }
  for (const fs::path& file : found.files) open_file(file, nullptr);
}

}  // namespace millrace
