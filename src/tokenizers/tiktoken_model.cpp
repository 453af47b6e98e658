// tokenizer.model as Llama 3 has it: every line is a token's bytes in base64, a blank, and the rank, which is the id.
#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <optional>

#include "base/log.h"
#include "base/text.h"
#include "tokenizers/byte_level_vocabulary.h"
#include "tokenizers/token_table.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

constexpr size_t kMaxTokenBytes = 512;  // Llama's longest has 128

constexpr std::string_view kLlama3Split =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

// torchtune's names, in the order of the ids; <|image|> is the one behind the 256.
std::vector<std::string> llama3_special_tokens() {
  const auto reserved = [](int i) { return str("<|reserved_special_token_", i, "|>"); };
  std::vector<std::string> names = {
      "<|begin_of_text|>", "<|end_of_text|>",     reserved(0),         reserved(1),  "<|finetune_right_pad_id|>",
      "<|step_id|>",       "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
      "<|python_tag|>",    reserved(245),         "<|video|>"};
  for (int i = 2; names.size() < 256; ++i) names.push_back(reserved(i));
  names.push_back("<|image|>");
  return names;
}

// Nothing for what is not base64 with its padding.
std::optional<std::string> decode_base64(std::string_view text) {
  static const std::array<int8_t, 256> values = [] {
    constexpr std::string_view alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::array<int8_t, 256> table;
    table.fill(-1);
    for (size_t i = 0; i < alphabet.size(); ++i)
      table[static_cast<unsigned char>(alphabet[i])] = static_cast<int8_t>(i);
    return table;
  }();
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const size_t padding = ends_with(text, "==") ? 2 : ends_with(text, "=") ? 1 : 0;
  std::string bytes;
  uint32_t bits = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_padding = i >= text.size() - padding;
    const int value = is_padding ? 0 : values[static_cast<unsigned char>(text[i])];
    if (value < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(value);
    if (i % 4 != 3) continue;
    for (const int shift : {16, 8, 0}) bytes.push_back(static_cast<char>(bits >> shift & 0xFF));
    bits = 0;
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

struct Line {
  std::string bytes;
  int64_t rank;
};

std::optional<Line> parse_line(std::string_view line) {
  const size_t blank = line.find(' ');
  if (blank == std::string_view::npos) return std::nullopt;
  const auto bytes = decode_base64(line.substr(0, blank));
  const std::string_view number = line.substr(blank + 1);
  int64_t rank = -1;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rank);
  if (!bytes || number.empty() || error != std::errc() || end != number.data() + number.size() || rank < 0) {
    return std::nullopt;
  }
  return Line{*bytes, rank};
}

std::vector<std::string> read_tokens(const std::filesystem::path& path) {
  const std::string text = read_vocabulary_text(path);
  std::vector<std::string> tokens;
  const int64_t num_lines = std::count(text.begin(), text.end(), '\n') + (ends_with(text, "\n") ? 0 : 1);
  int64_t number = 0, count = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = std::string_view(text).substr(at, end - at);
    at = end + 1;
    ++number;
    if (ends_with(line, "\r")) line.remove_suffix(1);
    if (line.empty()) continue;
    const auto parsed = parse_line(line);
    if (!parsed) fail_vocabulary(path, number, "expected a token in base64, a blank and its rank, got another line");
    if (parsed->bytes.size() > kMaxTokenBytes) {
      fail_vocabulary(path, number,
                      str("expected tokens of at most ", kMaxTokenBytes, " bytes, got ", parsed->bytes.size()));
    }
    if (parsed->rank >= num_lines) {
      fail_vocabulary(path, number,
                      str("expected a rank below ", num_lines, ", the number of lines, got ", parsed->rank));
    }
    if (parsed->rank >= kMaxVocabularySize) {
      fail_vocabulary(path, number, str("expected a rank below ", kMaxVocabularySize, ", got ", parsed->rank));
    }
    const auto rank = static_cast<size_t>(parsed->rank);
    if (rank >= tokens.size()) tokens.resize(rank + 1);
    if (!tokens[rank].empty()) fail_vocabulary(path, number, str("expected every rank once, got ", rank, " again"));
    tokens[rank] = parsed->bytes;
    ++count;
  }
  if (count == 0) fail_vocabulary(path, 0, "expected lines of tokens and ranks, got none");
  if (count != static_cast<int64_t>(tokens.size())) {
    fail_vocabulary(path, 0,
                    str("expected the ranks 0 to ", tokens.size() - 1, " without gaps, got ", count, " of them"));
  }
  return tokens;
}

// Every way to cut a token into two tokens is a merge of the token's rank: so built, merging step by step gives what
// tiktoken finds by looking up the bytes of neighbours.
std::vector<ByteLevelVocabulary::Merge> merges_of(const std::vector<std::string>& tokens) {
  const TokenTable table(tokens);
  std::vector<ByteLevelVocabulary::Merge> merges;
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string_view token = tokens[id];
    for (size_t cut = 1; cut < token.size(); ++cut) {
      const int32_t left = table.find(token.substr(0, cut));
      const int32_t right = left < 0 ? -1 : table.find(token.substr(cut));
      if (right >= 0) merges.push_back({left, right, static_cast<int32_t>(id), static_cast<uint32_t>(id)});
    }
  }
  return merges;
}

}  // namespace

bool is_tiktoken_model(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  char line[kMaxTokenBytes * 2];
  file.getline(line, sizeof line);
  std::string_view text(line, static_cast<size_t>(file.gcount()));
  if (ends_with(text, std::string_view("\0", 1))) text.remove_suffix(1);
  return file.good() && parse_line(text).has_value();
}

ByteLevelVocabulary read_tiktoken_model(const std::filesystem::path& path) {
  ByteLevelVocabulary vocabulary;
  vocabulary.path = path;
  vocabulary.tokens = read_tokens(path);
  const TokenTable table(vocabulary.tokens);
  for (int byte = 0; byte < 256; ++byte) {
    const char c = static_cast<char>(byte);
    if (table.find(std::string_view(&c, 1)) < 0) {
      fail_vocabulary(path, 0, str("expected a token for every single byte, got none for byte ", byte));
    }
  }
  vocabulary.merges = merges_of(vocabulary.tokens);
  vocabulary.whole_words_first = true;
  vocabulary.splits.push_back({SplitPattern(kLlama3Split, path.string()), true});
  auto id = static_cast<int32_t>(vocabulary.tokens.size());
  for (const std::string& name : llama3_special_tokens()) vocabulary.added.push_back({{name, id++}});
  vocabulary.bos = "<|begin_of_text|>";
  vocabulary.eos = "<|end_of_text|>";
  vocabulary.pad = "<|finetune_right_pad_id|>";
  vocabulary.finds_added_tokens = false;
  vocabulary.cuts_long_text = true;
  return vocabulary;
}

}  // namespace millrace
