#include "tokenizers/sentencepiece_file.h"

#include <cstring>
#include <optional>
#include <string_view>

#include "base/log.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

struct Field {
  uint64_t number = 0;
  uint64_t integer = 0;    // varint
  std::string_view bytes;  // length-delimited, and the 4 or 8 bytes of fixed fields
};

class MessageReader {
 public:
  MessageReader(const std::filesystem::path& path, std::string_view data) : path_(path), data_(data) {}

  std::optional<Field> next() {
    if (data_.empty()) return std::nullopt;
    const uint64_t key = varint();
    Field field{key >> 3};
    switch (key & 7) {
      case 0:
        field.integer = varint();
        break;
      case 1:
        field.bytes = take(8);
        break;
      case 2:
        field.bytes = take(varint());
        break;
      case 5:
        field.bytes = take(4);
        break;
      default:
        fail();
    }
    return field;
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    fail();
  }
  std::string_view take(uint64_t size) {
    if (size > data_.size()) fail();
    const std::string_view taken = data_.substr(0, size);
    data_.remove_prefix(size);
    return taken;
  }
  [[noreturn]] void fail() const { fail_vocabulary(path_, 0, "expected a SentencePiece model, got a damaged file"); }

  const std::filesystem::path& path_;
  std::string_view data_;
};

SentencePieceFile::Piece read_piece(MessageReader reader) {
  SentencePieceFile::Piece piece;
  while (const auto field = reader.next()) {
    if (field->number == 1) piece.text = field->bytes;
    if (field->number == 2 && field->bytes.size() == 4) {
      float score;
      std::memcpy(&score, field->bytes.data(), 4);
      piece.score = score;
    }
    if (field->number == 3) piece.type = field->integer;
  }
  return piece;
}

void read_normalizer(SentencePieceFile& file, MessageReader reader) {
  while (const auto option = reader.next()) {
    if (option->number == 2) file.character_map = option->bytes;
    if (option->number == 3) file.adds_dummy_prefix = option->integer != 0;
    if (option->number == 4) file.removes_extra_whitespaces = option->integer != 0;
    if (option->number == 5) file.escapes_whitespaces = option->integer != 0;
  }
}

}  // namespace

SentencePieceFile read_sentencepiece_file(const std::filesystem::path& path) {
  SentencePieceFile file;
  const std::string data = read_vocabulary_text(path);
  MessageReader model(path, data);
  while (const auto field = model.next()) {
    const MessageReader message(path, field->bytes);
    if (field->number == 1) {
      if (static_cast<int64_t>(file.pieces.size()) == kMaxVocabularySize) {
        fail_vocabulary(path, 0, str("expected at most ", kMaxVocabularySize, " pieces, got more"));
      }
      file.pieces.push_back(read_piece(message));
    } else if (field->number == 2) {  // trainer_spec
      MessageReader trainer = message;
      while (const auto option = trainer.next()) {
        if (option->number == 3) file.model_type = option->integer;
      }
    } else if (field->number == 3) {  // normalizer_spec
      read_normalizer(file, message);
    }
  }
  return file;
}

}  // namespace millrace
