#include "language/model_tokenizer.h"

#include <array>
#include <tuple>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "tokenizers/byte_level_vocabulary.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr std::array kTokenizerFiles = {"tokenizer.json", "tokenizer.model", "original/tokenizer.model", "vocab.json",
                                        "spiece.model"};

// Empty: none, or one of several.
fs::path gguf_file(const fs::path& path) {
  if (!fs::is_directory(path)) return to_lower(path.extension().string()) == ".gguf" ? path : fs::path();
  for (const char* name : kTokenizerFiles) {
    if (fs::exists(path / name)) return {};
  }
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (to_lower(entry.path().extension().string()) == ".gguf") found.push_back(entry.path());
  }
  return found.size() == 1 ? found.front() : fs::path();
}

}  // namespace

std::optional<GgufTokenizer> carried_tokenizer(const fs::path& path) {
  const fs::path file = gguf_file(path);
  if (file.empty()) return std::nullopt;
  const GgufFile gguf(file);
  std::optional<GgufTokenizer> carried = gguf_tokenizer(gguf.metadata(), file.string());
  if (!carried) {
    throw ModelError(str("[", file.string(),
                         "] expected a tokenizer in the file, got none (try the model's tokenizer.json, as "
                         "finetune.tokenizer)"));
  }
  return carried;
}

std::unique_ptr<ByteLevelTokenizer> load_model_tokenizer(const fs::path& path) {
  if (const std::optional<GgufTokenizer> carried = carried_tokenizer(path)) {
    return std::make_unique<ByteLevelTokenizer>(read_byte_level_json(carried->tokenizer, carried->config, path));
  }
  std::unique_ptr<Tokenizer> tokenizer = load_tokenizer(path, TokenizerKind::kByteLevel);
  auto* byte_level = dynamic_cast<ByteLevelTokenizer*>(tokenizer.get());
  if (byte_level == nullptr) {
    throw ModelError(
        str("[", path.string(), "] expected the tokenizer of a language model, got one for ", tokenizer->name()));
  }
  std::ignore = tokenizer.release();
  return std::unique_ptr<ByteLevelTokenizer>(byte_level);
}

uint64_t tokenizer_digest(const fs::path& path) {
  std::vector<uint64_t> sums;
  const auto add = [&](const std::string& text) { sums.push_back(checksum64(text.data(), text.size())); };
  const auto add_file = [&](const fs::path& file) {
    if (fs::is_regular_file(file)) add(file.filename().string() + "\n" + read_file(file));
  };
  const bool is_folder = fs::is_directory(path);
  const fs::path folder = is_folder ? path : path.parent_path();
  if (const std::optional<GgufTokenizer> carried = carried_tokenizer(path)) {
    add(carried->tokenizer.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
    add(carried->config.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace));
  } else if (!is_folder) {
    add_file(path);
  } else {
    for (const char* name : kTokenizerFiles) add_file(folder / name);
  }
  for (const char* name : {"merges.txt", "tokenizer_config.json", "chat_template.jinja"}) add_file(folder / name);
  return checksum64(sums.data(), sizeof(uint64_t) * sums.size());
}

}  // namespace millrace
