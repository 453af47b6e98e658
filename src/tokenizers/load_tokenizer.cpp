#include "base/log.h"
#include "base/text.h"
#include "tokenizers/byte_level_tokenizer.h"
#include "tokenizers/clip_tokenizer.h"
#include "tokenizers/t5_tokenizer.h"
#include "tokenizers/t5_vocabulary.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr const char* kForms =
    "tokenizer.json, vocab.json with merges.txt, spiece.model, the tokenizer.model of Llama or Mistral, or open_clip's "
    "bpe_simple_vocab_16e6.txt.gz";

std::unique_ptr<Tokenizer> load_clip(const ClipVocabulary& vocabulary) {
  return std::make_unique<ClipTokenizer>(vocabulary);
}

std::unique_ptr<Tokenizer> load_t5(const T5Vocabulary& vocabulary) {
  return std::make_unique<T5Tokenizer>(vocabulary);
}

std::unique_ptr<Tokenizer> load_byte_level(ByteLevelVocabulary vocabulary) {
  return std::make_unique<ByteLevelTokenizer>(std::move(vocabulary));
}

// CLIP's vocabulary ends its words with </w>; GPT-2's and what came after it mark nothing there.
bool has_word_ends(const nlohmann::json& model) {
  const auto suffix = model.find("end_of_word_suffix");
  if (suffix != model.end() && suffix->is_string() && !suffix->get_ref<const std::string&>().empty()) return true;
  const auto vocabulary = model.find("vocab");
  return vocabulary != model.end() && vocabulary->is_object() && vocabulary->contains("<|startoftext|>");
}

// Llama 2's kind, which may do without a pre-tokenizer.
bool has_byte_fallback(const nlohmann::json& model) {
  const auto fallback = model.find("byte_fallback");
  return fallback != model.end() && *fallback == true;
}

T5Vocabulary read_unigram(const fs::path& path) {
  return unigram_vocabulary(read_sentencepiece_file(path), path);
}

std::unique_ptr<Tokenizer> load_model_file(const fs::path& path) {
  if (is_tiktoken_model(path)) return load_byte_level(read_tiktoken_model(path));
  SentencePieceFile file = read_sentencepiece_file(path);
  if (file.model_type == SentencePieceFile::kBpe) return load_byte_level(bpe_vocabulary(file, path));
  return load_t5(unigram_vocabulary(std::move(file), path));
}

std::unique_ptr<Tokenizer> load_tokenizer_json(const fs::path& path) {
  const nlohmann::json json = read_vocabulary_json(path);
  std::string type;
  if (json.is_object() && json.contains("model") && json["model"].is_object()) {
    const auto& model = json["model"];
    if (model.contains("type") && model["type"].is_string()) type = model["type"].get<std::string>();
    if (type.empty() && model.contains("merges")) type = "BPE";  // old files do not name it
  }
  const auto pre_tokenizer = json.find("pre_tokenizer");
  const bool splits = pre_tokenizer != json.end() && !pre_tokenizer->is_null();
  if (type == "BPE" && (has_word_ends(json["model"]) || (!splits && !has_byte_fallback(json["model"]))))
    return load_clip(read_clip_tokenizer_json(json, path));
  if (type == "BPE") return load_byte_level(read_byte_level_json(json, path));
  if (type == "Unigram") return load_t5(read_t5_tokenizer_json(json, path));
  fail_vocabulary(path, 0, str("expected a model of type BPE or Unigram (T5), got \"", type, "\""));
}

std::unique_ptr<Tokenizer> load_folder(const fs::path& folder) {
  // The search order of transformers.
  if (fs::exists(folder / "tokenizer.json")) return load_tokenizer_json(folder / "tokenizer.json");
  if (fs::exists(folder / "spiece.model")) return load_t5(read_unigram(folder / "spiece.model"));
  if (fs::exists(folder / "vocab.json")) return load_clip(read_clip_folder(folder));
  for (const char* name : {"tokenizer.model", "original/tokenizer.model"}) {
    if (fs::exists(folder / name)) return load_model_file(folder / name);
  }
  fail_vocabulary(folder, 0, str("expected a folder with ", kForms, ", got none of them"));
}

std::unique_ptr<Tokenizer> load(const fs::path& path) {
  const std::string name = path.filename().string();
  if (fs::is_directory(path)) return load_folder(path);
  if (!fs::exists(path)) fail_vocabulary(path, 0, str("expected a folder or one of ", kForms, ", got nothing there"));
  if (name == "vocab.json" || name == "merges.txt") {
    return load_clip(read_clip_folder(path.has_parent_path() ? path.parent_path() : fs::path(".")));
  }
  if (ends_with(name, ".json")) return load_tokenizer_json(path);
  if (ends_with(name, ".model")) return load_model_file(path);
  if (ends_with(name, ".gz") || ends_with(name, ".txt")) return load_clip(read_open_clip_vocabulary(path));
  fail_vocabulary(path, 0, str("expected ", kForms, ", got a file of another name"));
}

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const std::filesystem::path& path, TokenizerKind kind) {
  std::unique_ptr<Tokenizer> tokenizer = load(path);
  const std::string got = tokenizer->name();
  const std::string wanted = kind == TokenizerKind::kClip        ? "CLIP"
                             : kind == TokenizerKind::kT5        ? "T5"
                             : kind == TokenizerKind::kByteLevel ? "byte-level BPE"
                                                                 : got;
  if (got != wanted) fail_vocabulary(path, 0, str("expected a ", wanted, " tokenizer, got one for ", got));
  return tokenizer;
}

}  // namespace millrace
