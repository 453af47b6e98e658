// The few fields of sentencepiece_model.proto (google/sentencepiece) that make up a unigram vocabulary, read straight
// from the wire format: no protobuf library, no trust in lengths.
#include <cstring>
#include <optional>
#include <string_view>

#include "base/log.h"
#include "base/text.h"
#include "tokenizers/t5_vocabulary.h"
#include "tokenizers/vocabulary_files.h"

namespace millrace {
namespace {

constexpr int kExtraIds = 100;

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

enum PieceType : uint64_t { kNormal = 1, kUnknown = 2, kControl = 3, kUserDefined = 4 };

void read_piece(T5Vocabulary& vocabulary, std::string_view message) {
  MessageReader reader(vocabulary.path, message);
  T5Vocabulary::Piece piece;
  uint64_t type = kNormal;
  while (const auto field = reader.next()) {
    if (field->number == 1) piece.text = field->bytes;
    if (field->number == 2 && field->bytes.size() == 4) {
      float score;
      std::memcpy(&score, field->bytes.data(), 4);
      piece.score = score;
    }
    if (field->number == 3) type = field->integer;
  }
  const auto id = static_cast<int32_t>(vocabulary.pieces.size());
  if (type == kUnknown || type == kControl || type == kUserDefined) {
    vocabulary.added_tokens.push_back({piece.text, id, type != kUserDefined});
  }
  vocabulary.pieces.push_back(std::move(piece));
  if (static_cast<int64_t>(vocabulary.pieces.size()) > kMaxVocabularySize) {
    fail_vocabulary(vocabulary.path, 0, str("expected at most ", kMaxVocabularySize, " pieces, got more"));
  }
}

}  // namespace

T5Vocabulary read_sentencepiece_model(const std::filesystem::path& path) {
  T5Vocabulary vocabulary;
  vocabulary.path = path;
  const std::string data = read_vocabulary_text(path);
  MessageReader model(vocabulary.path, data);
  while (const auto field = model.next()) {
    if (field->number == 1) {
      read_piece(vocabulary, field->bytes);
    } else if (field->number == 2) {  // trainer_spec
      MessageReader trainer(vocabulary.path, field->bytes);
      while (const auto option = trainer.next()) {
        if (option->number == 3 && option->integer != 1) {
          fail_vocabulary(path, 0, "expected a unigram model, got another kind (BPE, word or char)");
        }
      }
    } else if (field->number == 3) {  // normalizer_spec
      MessageReader normalizer(vocabulary.path, field->bytes);
      while (const auto option = normalizer.next()) {
        if (option->number == 2) vocabulary.character_map = option->bytes;
      }
    }
  }
  for (int i = kExtraIds - 1; i >= 0; --i) {
    const std::string sentinel = str("<extra_id_", i, ">");
    vocabulary.added_tokens.push_back({sentinel, static_cast<int32_t>(vocabulary.pieces.size()), true});
    vocabulary.pieces.push_back({sentinel, 0.0});
  }
  return vocabulary;
}

}  // namespace millrace
