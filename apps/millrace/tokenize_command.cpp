// millrace tokenize: ids for lines of text.
#include <CLI/CLI.hpp>
#include <filesystem>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "command_line.h"
#include "commands.h"
#include "formats/json.h"
#include "language/chat_encoder.h"
#include "language/model_tokenizer.h"
#include "tokenizers/tokenizer.h"
#include "tokenizers/unicode.h"

namespace millrace {
namespace {

// A caption is a few hundred bytes; an endless line must not fill the memory.
constexpr size_t kMaxLineBytes = size_t{64} << 20;

// False at the end of the input.
bool read_line(std::istream& input, int64_t number, std::string& line) {
  line.clear();
  std::streambuf& buffer = *input.rdbuf();
  int c = buffer.sbumpc();
  if (c == std::char_traits<char>::eof()) return false;
  for (; c != std::char_traits<char>::eof() && c != '\n'; c = buffer.sbumpc()) {
    if (line.size() == kMaxLineBytes) {
      throw DataError(str("[standard input:", number, "] expected lines of at most ", kMaxLineBytes >> 20,
                          " MiB, got a longer one"));
    }
    line.push_back(static_cast<char>(c));
  }
  // Removes what editors add: Windows line endings, and a byte order mark at the start.
  if (!line.empty() && line.back() == '\r') line.pop_back();
  if (number == 1 && starts_with(line, "\xEF\xBB\xBF")) line.erase(0, 3);
  return true;
}

std::string text_of_json_line(const std::string& line, int64_t number) {
  const auto fail = [&](const std::string& got) -> DataError {
    return DataError(str("[standard input:", number, "] expected {\"text\": \"...\"} or a JSON string, got ", got,
                         " (try --text for plain text)"));
  };
  nlohmann::json json;
  try {
    json = nlohmann::json::parse(line);
  } catch (const nlohmann::json::exception& error) {
    throw fail(error.what());
  }
  if (json.is_string()) return json.get<std::string>();
  if (json.is_object() && json.contains("text") && json["text"].is_string()) return json["text"].get<std::string>();
  throw fail("other JSON");
}

void print_ids(const std::vector<int32_t>& ids, std::string& out) {
  out = "{\"ids\": [";
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) out += ", ";
    out += std::to_string(ids[i]);
  }
  out += "]}\n";
  std::cout.write(out.data(), static_cast<std::streamsize>(out.size()));
}

struct ChatFlags {
  std::string layout;  // "": lines are texts
  bool train_on_input = false, no_end_tokens = false, truncate_left = false;
  std::string torchtune = "main";
};

ChatEncoderOptions chat_options(const ChatFlags& flags, int64_t max_length) {
  ChatEncoderOptions options;
  options.layout = flags.layout == "torchtune"  ? ChatLayout::kTorchtune
                   : flags.layout == "template" ? ChatLayout::kTemplate
                                                : ChatLayout::kMeta;
  options.masking = flags.train_on_input ? MaskingStrategy::kAll : MaskingStrategy::kAssistant;
  options.version = flags.torchtune == "main" ? TorchtuneVersion::kMain : TorchtuneVersion::kRelease;
  if (max_length > 0) options.torchtune.max_length = max_length;
  options.torchtune.truncation = flags.truncate_left ? Truncation::kLeft : Truncation::kRight;
  options.torchtune.add_end_tokens = !flags.no_end_tokens;
  return options;
}

void print_chat(const ChatTokens& chat, const ByteLevelTokenizer& tokenizer, std::string& out) {
  std::string text;
  for (const int32_t id : chat.ids) text += tokenizer.bytes_of(id);
  out = "{\"ids\": [";
  for (size_t i = 0; i < chat.ids.size(); ++i) {
    if (i > 0) out += ", ";
    out += std::to_string(chat.ids[i]);
  }
  out += "], \"trained\": [";
  for (size_t i = 0; i < chat.masked.size(); ++i) {
    if (i > 0) out += ", ";
    out += chat.masked[i] ? '0' : '1';
  }
  out += "], \"text\": " + nlohmann::json(unicode::replace_invalid_utf8(text)).dump() + "}\n";
  std::cout.write(out.data(), static_cast<std::streamsize>(out.size()));
}

void tokenize_chats(const Tokenizer& tokenizer, const std::string& path, const ChatEncoderOptions& options) {
  const auto* byte_level = dynamic_cast<const ByteLevelTokenizer*>(&tokenizer);
  if (byte_level == nullptr) {
    throw ModelError(str("[", path, "] expected the tokenizer of a chat model, got one for ", tokenizer.name()));
  }
  const ChatEncoder encoder(*byte_level, path, options);
  std::string line, out;
  for (int64_t number = 1; read_line(std::cin, number, line); ++number) {
    const std::string place = str("standard input:", number);
    print_chat(encoder.encode(parse_ordered_json<DataError>(line, place), place), *byte_level, out);
  }
}

void check_output() {
  std::cout.flush();
  if (!std::cout) throw StorageError("[standard output] expected to write all ids, got a closed or full output");
}

std::vector<int32_t> ids_of_json_line(const std::string& line, int64_t number) {
  try {
    const nlohmann::json json = nlohmann::json::parse(line);
    return (json.is_object() ? json.at("ids") : json).get<std::vector<int32_t>>();
  } catch (const nlohmann::json::exception& error) {
    throw DataError(
        str("[standard input:", number, "] expected {\"ids\": [...]} or a list of ids, got ", error.what()));
  }
}

}  // namespace

int run_tokenize(const std::vector<std::string>& args) {
  ArgumentParser app{"Ids for lines of text: JSON lines on standard input, JSON lines on standard output.",
                     "millrace tokenize"};
  std::string path;
  TokenizerKind kind = TokenizerKind::kAuto;
  int64_t max_length = 0;
  bool pad = false, plain_text = false, decode = false;
  const std::map<std::string, TokenizerKind> kinds{{"auto", TokenizerKind::kAuto},
                                                   {"clip", TokenizerKind::kClip},
                                                   {"t5", TokenizerKind::kT5},
                                                   {"byte-level", TokenizerKind::kByteLevel}};
  app.add_option("--tokenizer", path,
                 "Folder with tokenizer.json, vocab.json and merges.txt, spiece.model or tokenizer.model; "
                 "a .gguf file; one of these "
                 "files; or open_clip's bpe_simple_vocab_16e6.txt.gz")
      ->required();
  app.add_option("--kind", kind, "Required kind: auto, clip, t5 or byte-level")
      ->transform(CLI::CheckedTransformer(kinds))
      ->default_str("auto");
  app.add_option("--max-length", max_length, "Truncate to this many ids, including special ids; 0: do not truncate")
      ->check(CLI::Range(int64_t{0}, int64_t{1} << 24));
  app.add_flag("--pad", pad, "Pad to --max-length with the pad id");
  app.add_flag("--text", plain_text, "Text lines are plain text, not JSON");
  app.add_flag("--decode", decode, "The inverse: ids in, text without special tokens out");
  ChatFlags chat;
  app.add_option(
         "--chat", chat.layout,
         "Lines are conversations, {\"messages\": [{\"role\", \"content\"}, ...]}, laid out as torchtune does, by the "
         "model's own template, or as Meta prompts: ids, which of them are trained, and their text")
      ->check(CLI::IsMember({"torchtune", "template", "meta"}));
  app.add_flag("--train-on-input", chat.train_on_input, "With --chat: train what the user says, too");
  app.add_option("--torchtune", chat.torchtune,
                 "With --chat torchtune: masks as in 0.6.1 or main, which differ for system messages")
      ->check(CLI::IsMember({"0.6.1", "main"}))
      ->capture_default_str();
  app.add_flag("--truncate-left", chat.truncate_left, "With --chat: keep the end of what is too long, not the start");
  app.add_flag("--no-end-tokens", chat.no_end_tokens, "With --chat torchtune: no <|end_of_text|>");
  if (!parse_command_line(app, args)) return static_cast<int>(ExitCode::kDone);
  if (pad && max_length == 0) throw ConfigError("[tokenize --pad] expected a length to pad to (try --max-length 77)");

  const bool is_gguf = std::filesystem::path(path).extension() == ".gguf";
  const std::unique_ptr<Tokenizer> tokenizer = is_gguf ? load_model_tokenizer(path) : load_tokenizer(path, kind);
  std::ios::sync_with_stdio(false);
  if (!chat.layout.empty()) {
    if (pad || plain_text || decode)
      throw ConfigError("[tokenize --chat] expected no --pad, --text or --decode with it");
    tokenize_chats(*tokenizer, path, chat_options(chat, max_length));
    check_output();
    return static_cast<int>(ExitCode::kDone);
  }
  std::string line, out;
  for (int64_t number = 1; read_line(std::cin, number, line); ++number) {
    if (decode) {
      const std::string text = tokenizer->decode(ids_of_json_line(line, number));
      std::cout << (plain_text ? text : nlohmann::json{{"text", text}}.dump()) << '\n';
      continue;
    }
    const std::string text = plain_text ? line : text_of_json_line(line, number);
    try {
      print_ids(pad              ? tokenizer->encode_padded(text, max_length)
                : max_length > 0 ? tokenizer->encode_truncated(text, max_length)
                                 : tokenizer->encode(text),
                out);
    } catch (const DataError& error) {
      throw DataError(str("[standard input:", number, "] ", error.what()));
    }
  }
  check_output();
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
