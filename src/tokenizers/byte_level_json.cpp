// tokenizer.json with a BPE model, byte-level or with byte_fallback. What a part of the file would change about the ids
// and is not known here is refused, never left out.
#include <unordered_map>

#include "base/log.h"
#include "base/text.h"
#include "tokenizers/byte_level_vocabulary.h"
#include "tokenizers/clip_vocabulary.h"
#include "tokenizers/unicode.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

using nlohmann::json;

constexpr const char* kGpt2Split = "'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : path_(path) { vocabulary_.path = path; }

  ByteLevelVocabulary read(const json& file, const json& config) {
    if (!file.is_object() || !part(file, "model").is_object()) fail("an object with a \"model\"", "none");
    read_model(file["model"]);
    if (vocabulary_.characters) {
      read_blanks(part(file, "normalizer"), part(file, "pre_tokenizer"));
      read_decoder(part(file, "decoder"));
    } else {
      read_normalizer(part(file, "normalizer"));
      read_pre_tokenizer(part(file, "pre_tokenizer"));
      if (!byte_level_) fail("a pre_tokenizer of type ByteLevel", "none");
    }
    read_added_tokens(part(file, "added_tokens"));
    read_tokenizer_config(config);
    read_post_processor(part(file, "post_processor"));
    return std::move(vocabulary_);
  }

 private:
  [[noreturn]] void fail(const std::string& expected, const std::string& got) const {
    fail_vocabulary(path_, 0, str("expected ", expected, ", got ", unicode::replace_invalid_utf8(got)));
  }

  static const json& part(const json& object, const char* key) {
    static const json none;
    const auto found = object.find(key);
    return found == object.end() ? none : *found;
  }
  static std::string text(const json& object, const char* key) {
    const auto found = object.is_object() ? object.find(key) : object.end();
    return object.is_object() && found != object.end() && found->is_string() ? found->get<std::string>() : "";
  }
  static bool flag(const json& object, const char* key, bool otherwise) {
    const json& value = part(object, key);
    return value.is_boolean() ? value.get<bool>() : otherwise;
  }
  // The parts of a Sequence, or the one part itself; nothing for null.
  std::vector<json> parts(const json& value, const char* list) const {
    if (value.is_null()) return {};
    if (!value.is_object()) fail(str("an object with \"", list, "\""), value.dump().substr(0, 80));
    if (text(value, "type") != "Sequence") return {value};
    const json& inner = part(value, list);
    if (!inner.is_array()) fail(str("a Sequence with a list \"", list, "\""), "none");
    std::vector<json> flat;
    for (const json& one : inner) {
      if (!one.is_object() || text(one, "type") == "Sequence")
        fail("a flat Sequence of objects", one.dump().substr(0, 80));
      flat.push_back(one);
    }
    return flat;
  }

  std::string bytes_of_symbols(const std::string& token) const {
    static const auto& byte_of = *[] {
      auto* table = new std::unordered_map<std::string_view, char>;
      for (size_t byte = 0; byte < 256; ++byte) table->emplace(byte_symbols()[byte], static_cast<char>(byte));
      return table;
    }();
    std::string bytes;
    for (size_t i = 0; i < token.size();) {
      const uint32_t length = unicode::decode(token, i).length;
      const auto found = byte_of.find(std::string_view(token).substr(i, length));
      if (found == byte_of.end()) return token;  // not byte-level: an added token, as it is spelled
      bytes.push_back(found->second);
      i += length;
    }
    return bytes;
  }

  int32_t checked_id(const json& id, const std::string& token) const {
    if (!id.is_number_integer() || id < 0 || id >= kMaxVocabularySize) {
      fail(str("an id from 0 to ", kMaxVocabularySize - 1, " for the token \"", token, "\""), id.dump().substr(0, 80));
    }
    return id.get<int32_t>();
  }

  void read_model(const json& model) {
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      if (!text(model, key).empty()) fail(str("a byte-level model without ", key), text(model, key));
    }
    const json& dropout = part(model, "dropout");
    if (!dropout.is_null() && dropout != 0.0) fail("a model without dropout", dropout.dump().substr(0, 80));
    if (flag(model, "byte_fallback", false)) vocabulary_.characters.emplace();
    const json &vocab = part(model, "vocab"), &merges = part(model, "merges");
    if (!vocab.is_object() || vocab.empty()) fail("a BPE model with an object \"vocab\"", "none");
    if (!merges.is_array()) fail("a BPE model with a list \"merges\"", "none");
    if (static_cast<int64_t>(vocab.size()) > kMaxVocabularySize)
      fail(str("at most ", kMaxVocabularySize, " tokens"), "more");
    if (static_cast<int64_t>(merges.size()) > 4 * kMaxVocabularySize)
      fail("fewer merges", std::to_string(merges.size()));
    ids_.reserve(vocab.size());
    for (const auto& [token, id] : vocab.items()) {
      const auto index = static_cast<size_t>(checked_id(id, token));
      // Ids may have gaps, but not such that a short file asks for a long table.
      if (index >= 2 * vocab.size() + 4096)
        fail("ids without large gaps", str("the id ", index, " of \"", token, "\""));
      if (index >= vocabulary_.tokens.size()) vocabulary_.tokens.resize(index + 1);
      vocabulary_.tokens[index] = vocabulary_.characters ? characters_of(token) : bytes_of_symbols(token);
      ids_.emplace(token, static_cast<int32_t>(index));
    }
    if (vocabulary_.characters) {
      read_byte_tokens();
    } else if (const std::string unknown = text(model, "unk_token"); !unknown.empty()) {
      for (const std::string& symbol : byte_symbols()) {
        if (!ids_.contains(symbol)) fail("a token for every single byte beside an unk_token", str("none for ", symbol));
      }
    }
    vocabulary_.whole_words_first = flag(model, "ignore_merges", false);
    vocabulary_.merges.reserve(merges.size());
    for (const json& merge : merges) add_merge(merge);
  }

  std::string characters_of(const std::string& token) const {
    if (token.find(' ') != std::string::npos) fail(str("tokens with \"", kBlankMark, "\" for a blank"), token);
    return with_blanks(token);
  }

  // With all of them nothing is unknown: unk_token and fuse_unk mean nothing.
  void read_byte_tokens() {
    for (uint32_t byte = 0; byte < 256; ++byte) {
      constexpr const char* kDigits = "0123456789ABCDEF";
      const std::string token = str("<0x", kDigits[byte >> 4], kDigits[byte & 15], ">");
      const auto found = ids_.find(token);
      if (found == ids_.end()) fail("a token for every byte beside byte_fallback", str("none for ", token));
      vocabulary_.characters->byte_ids[byte] = found->second;
    }
  }

  // A normalizer that replaces blanks, and may put one before text, or Metaspace.
  void read_blanks(const json& normalizer, const json& pre_tokenizer) {
    using Prefix = CharacterRules::Prefix;
    CharacterRules& rules = *vocabulary_.characters;
    for (const json& one : parts(normalizer, "normalizers")) {
      const std::string type = text(one, "type");
      if (type == "Prepend" && text(one, "prepend") == kBlankMark && rules.prefix == Prefix::kNone) {
        rules.prefix = Prefix::kEverywhere;
      } else if (type == "Replace" && text(part(one, "pattern"), "String") == " " &&
                 text(one, "content") == kBlankMark) {
        rules.normalizes = true;
      } else {
        fail(str("a normalizer of Prepend \"", kBlankMark, "\" and Replace \" \" by it"), one.dump().substr(0, 80));
      }
    }
    const std::vector<json> pre_tokenizers = parts(pre_tokenizer, "pretokenizers");
    if (pre_tokenizers.empty() && rules.normalizes) return;
    const std::string given = str(normalizer.is_null() ? "" : "a normalizer and ", pre_tokenizer.dump().substr(0, 80));
    const json one = pre_tokenizers.size() == 1 ? pre_tokenizers.front() : json();
    if (!normalizer.is_null() || text(one, "type") != "Metaspace" || text(one, "replacement") != kBlankMark) {
      fail("a normalizer that replaces blanks, or a pre_tokenizer of type Metaspace alone, beside byte_fallback",
           given);
    }
    const std::string scheme = part(one, "prepend_scheme").is_null() ? "always" : text(one, "prepend_scheme");
    const bool prefixes = flag(one, "add_prefix_space", true);  // of older files
    if ((scheme != "always" && scheme != "first" && scheme != "never") || (!prefixes && scheme != "never")) {
      fail("Metaspace with prepend_scheme always, first or never, and an add_prefix_space that agrees", given);
    }
    rules.prefix = scheme == "always" ? Prefix::kEverywhere : scheme == "first" ? Prefix::kFirst : Prefix::kNone;
    rules.cuts_before_blanks = flag(one, "split", true);
  }

  // It has no part in ids, but what decode() does is this and nothing else.
  void read_decoder(const json& decoder) {
    std::vector<json> given = parts(decoder, "decoders");
    const std::vector<json> known = {{{"type", "Replace"}, {"pattern", {{"String", kBlankMark}}}, {"content", " "}},
                                     {{"type", "ByteFallback"}},
                                     {{"type", "Fuse"}}};
    const json strip = {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}};
    if (!given.empty() && given.back() == strip) {
      vocabulary_.characters->strips_first_blank = true;
      given.pop_back();
    }
    if (given != known) {
      fail("a decoder of Replace, ByteFallback, Fuse and, for one blank, Strip beside byte_fallback",
           decoder.dump().substr(0, 200));
    }
  }

  void add_merge(const json& merge) {
    std::string left, right;
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    } else if (merge.is_string()) {
      const auto& pair = merge.get_ref<const std::string&>();
      const size_t blank = pair.find(' ');
      if (blank != std::string::npos) left = pair.substr(0, blank), right = pair.substr(blank + 1);
    }
    const auto a = ids_.find(left), b = ids_.find(right), joined = ids_.find(left + right);
    if (a == ids_.end() || b == ids_.end() || joined == ids_.end()) {
      fail("merges of two tokens into a third of the vocabulary",
           merge.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 80));
    }
    vocabulary_.merges.push_back(
        {a->second, b->second, joined->second, static_cast<uint32_t>(vocabulary_.merges.size())});
  }

  void read_normalizer(const json& normalizer) {
    for (const json& one : parts(normalizer, "normalizers")) {
      if (text(one, "type") != "NFC") fail("no normalizer, or NFC", text(one, "type"));
      vocabulary_.nfc = true;
    }
  }

  void read_pre_tokenizer(const json& pre_tokenizer) {
    for (const json& one : parts(pre_tokenizer, "pretokenizers")) {
      const std::string type = text(one, "type");
      if (byte_level_) fail("ByteLevel as the last pre-tokenizer", type + " behind it");
      if (type == "Split") {
        read_split(one);
      } else if (type == "Digits") {
        add_split(flag(one, "individual_digits", false) ? "\\p{N}" : "\\p{N}+", true);
      } else if (type == "ByteLevel") {
        if (flag(one, "add_prefix_space", true)) fail("ByteLevel without add_prefix_space", "one with it");
        if (flag(one, "use_regex", true)) add_split(kGpt2Split, true);
        byte_level_ = true;
      } else {
        fail("pre-tokenizers of type Split, Digits and ByteLevel", type.empty() ? "one without a type" : type);
      }
    }
  }

  void read_split(const json& split) {
    const std::string expression = text(part(split, "pattern"), "Regex"), behavior = text(split, "behavior");
    if (expression.empty()) fail("Split by a \"Regex\"", part(split, "pattern").dump().substr(0, 80));
    const bool invert = flag(split, "invert", false);
    const bool isolated = behavior == "Isolated" && !invert, matches_alone = behavior == "Removed" && invert;
    if (!isolated && !matches_alone) {
      fail("Split with behavior Isolated, or Removed and invert", str(behavior, invert ? " and invert" : ""));
    }
    add_split(expression, isolated);
  }

  void add_split(const std::string& expression, bool between_too) {
    if (!is_valid_utf8(expression)) fail("a splitting expression in UTF-8", "other bytes");
    vocabulary_.splits.push_back({SplitPattern(expression, path_.string()), between_too});
  }

  void read_added_tokens(const json& added) {
    if (added.is_null()) return;
    if (!added.is_array()) fail("a list \"added_tokens\"", added.dump().substr(0, 80));
    if (added.size() > 65536) fail("at most 65536 added tokens", std::to_string(added.size()));
    for (const json& token : added) {
      const std::string content = text(token, "content");
      if (content.empty()) fail("added tokens with \"id\" and \"content\"", token.dump().substr(0, 80));
      const int32_t id = checked_id(part(token, "id"), content);
      if (flag(token, "single_word", false)) fail("added tokens without single_word", content);
      ByteLevelVocabulary::Added added_token{{content, id, flag(token, "lstrip", false), flag(token, "rstrip", false)}};
      added_token.special = flag(token, "special", true);
      added_token.normalized = flag(token, "normalized", false);
      const bool strips = added_token.strips_left || added_token.strips_right;
      // Its blanks are no white space any more when it is looked for.
      if (strips && added_token.normalized && vocabulary_.characters) {
        fail("added tokens without lstrip and rstrip where they are normalized", content);
      }
      vocabulary_.added.push_back(added_token);
    }
  }

  bool is_added(const std::string& content) const {
    for (const AddedToken& token : vocabulary_.added) {
      if (token.content == content) return true;
    }
    return false;
  }

  // Names of the special tokens: those of tokenizer_config.json, or Llama 3's where that file is missing.
  void read_tokenizer_config(const json& config) {
    if (config.is_null()) {
      if (is_added("<|begin_of_text|>")) vocabulary_.bos = "<|begin_of_text|>";
      if (is_added("<|end_of_text|>")) vocabulary_.eos = "<|end_of_text|>";
      if (is_added("<|finetune_right_pad_id|>")) vocabulary_.pad = "<|finetune_right_pad_id|>";
      return;
    }
    const auto content = [&](const char* key) {
      const json& value = part(config, key);
      return value.is_string() ? value.get<std::string>() : text(value, "content");
    };
    vocabulary_.bos = content("bos_token");
    vocabulary_.eos = content("eos_token");
    vocabulary_.pad = content("pad_token");
  }

  // TemplateProcessing puts special tokens around the text: one before it, one behind it or both.
  void read_post_processor(const json& post_processor) {
    for (const json& one : parts(post_processor, "processors")) {
      const std::string type = text(one, "type");
      if (type == "ByteLevel") continue;  // changes offsets alone
      if (type != "TemplateProcessing") fail("post-processors of type ByteLevel and TemplateProcessing", type);
      const json& single = part(one, "single");
      if (!single.is_array()) fail("TemplateProcessing with a list \"single\"", "none");
      bool behind = false;
      for (const json& piece : single) {
        if (piece.is_object() && piece.contains("Sequence")) {
          behind = true;
          continue;
        }
        const std::string token = text(part(piece.is_object() ? piece : json::object(), "SpecialToken"), "id");
        std::string& name = behind ? vocabulary_.eos : vocabulary_.bos;
        bool& adds = behind ? vocabulary_.adds_eos : vocabulary_.adds_bos;
        if (token.empty() || adds)
          fail("a template of one special token before and one behind the text", single.dump().substr(0, 120));
        name = token;
        adds = true;
      }
    }
  }

  std::filesystem::path path_;
  ByteLevelVocabulary vocabulary_;
  std::unordered_map<std::string, int32_t> ids_;
  bool byte_level_ = false;
};

}  // namespace

ByteLevelVocabulary read_byte_level_json(const json& file, const std::filesystem::path& path) {
  const std::filesystem::path config_path = path.parent_path() / "tokenizer_config.json";
  json config;
  if (std::filesystem::exists(config_path)) {
    config = read_vocabulary_json(config_path);
    if (!config.is_object()) fail_vocabulary(config_path, 0, "expected a JSON object, got something else");
  }
  return read_byte_level_json(file, config, path);
}

ByteLevelVocabulary read_byte_level_json(const json& file, const json& config, const std::filesystem::path& path) {
  try {
    return Reader(path).read(file, config);
  } catch (const json::exception& error) {
    fail_vocabulary(path, 0, str("expected a tokenizer of another shape, got: ", error.what()));
  }
}

}  // namespace millrace
