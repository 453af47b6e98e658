// From rows of a data set to tokens and labels with any model's tokenizer, and from a prompt to the tokens that a model
// continues.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "language/chat_encoder.h"
#include "language/prompt_template.h"
#include "language/row_format.h"
#include "language/text_stream.h"
#include "language/token_sample.h"

namespace millrace {

struct RowEncoderOptions {
  RowFormat format;
  ChatLayout layout = ChatLayout::kTorchtune;  // or kTemplate
  std::optional<int64_t> max_length;
  Truncation truncation = Truncation::kRight;
  bool add_eos = true;                    // RowStyle::kText: the text ends with the end-of-text token
  LabelShift shift = LabelShift::kByOne;  // of torchtune's layout; those of templates always are
  PromptTemplate prompt_template;         // of torchtune's layout
};

// Safe to use from many threads at once.
class RowEncoder {
 public:
  // tokenizer: a file or a folder. Throws ModelError for a tokenizer that is not a language model's, or that lacks the
  // tokens of the layout.
  RowEncoder(const std::filesystem::path& tokenizer, const RowEncoderOptions& options);

  // Throws DataError naming place.
  TokenSample encode(const nlohmann::ordered_json& row, const std::string& place) const;

  // A conversation with the assistant's header open behind it. turns: what the user says and what the assistant
  // answers, by turns, beginning and ending with the user; from_rows: as messages_of_row() gives it, with the words of
  // Alpaca around it. For texts, of which there is one turn, the beginning of a text.
  std::vector<int32_t> prompt(const std::vector<std::string>& turns, bool from_rows = false) const;
  // Where the labels of encode() stand.
  LabelShift label_shift() const { return llama3_ ? options_.shift : LabelShift::kByOne; }
  bool has_conversations() const { return options_.format.style != RowStyle::kText; }
  // The ids that end an answer.
  std::vector<int32_t> stop_tokens() const;
  std::string decode(std::span<const int32_t> ids) const { return tokenizer_->decode(ids); }
  // All of them, special tokens as they are spelled.
  std::string spelling(std::span<const int32_t> ids) const;
  // Must not outlive the encoder.
  TextStream stream(std::function<void(const std::string& piece)> on_piece) const {
    return {*tokenizer_, std::move(on_piece)};
  }

  // Two encoders with the same text make the same tokens of the same rows: the options, and a checksum of the
  // tokenizer's files, which are read again.
  std::string identity() const;

  int64_t vocabulary_size() const { return tokenizer_->vocabulary_size(); }
  // Whether the id is of an added token, which no text has by itself.
  bool is_special(int32_t id) const { return tokenizer_->added_token(tokenizer_->bytes_of(id)) == id; }

 private:
  TokenSample encode_text(const nlohmann::ordered_json& row, const std::string& place) const;
  TokenSample encode_template(const nlohmann::ordered_json& row, const std::string& place) const;
  nlohmann::ordered_json with_system_prompt(nlohmann::ordered_json messages) const;

  std::unique_ptr<ByteLevelTokenizer> tokenizer_;
  std::filesystem::path tokenizer_path_;
  RowEncoderOptions options_;
  std::optional<Llama3Tokens> llama3_;       // of torchtune's layout
  std::optional<ChatEncoder> chat_encoder_;  // of templates
  std::unique_ptr<ChatTemplate> template_;   // for prompts
};

}  // namespace millrace
