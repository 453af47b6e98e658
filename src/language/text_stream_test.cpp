#include "language/text_stream.h"

#include <gtest/gtest.h>

#include "language/test_support.h"
#include "tokenizers/byte_level_test_support.h"

namespace millrace {
namespace {

std::vector<std::string> pieces_of(std::span<const int32_t> ids, const Tokenizer& tokenizer = small_tokenizer()) {
  std::vector<std::string> pieces;
  TextStream stream(tokenizer, [&](const std::string& piece) { pieces.push_back(piece); });
  for (const int32_t id : ids) stream.add(id);
  stream.finish();
  return pieces;
}

std::string joined(const std::vector<std::string>& pieces) {
  std::string text;
  for (const std::string& piece : pieces) text += piece;
  return text;
}

TEST(TextStream, ShowsWholeCharacters) {
  const std::string text = "The 🙂 says: Привет, 世界!";
  const std::vector<int32_t> ids = small_tokenizer().encode(text);
  const std::vector<std::string> pieces = pieces_of(ids);
  EXPECT_EQ(joined(pieces), text);
  EXPECT_GT(pieces.size(), 10u);
  EXPECT_LT(pieces.size(), ids.size());  // bytes of one character come together
  for (const std::string& piece : pieces) EXPECT_EQ(piece.find("\xEF\xBF\xBD"), std::string::npos) << piece;
}

// decode() leaves out the blank before the first word, not those before the others.
TEST(TextStream, KeepsTheBlanksBetweenWords) {
  const VocabularyFolder folder;
  const auto tokenizer = load_tokenizer(folder.write("tokenizer.json", small_character_json().dump()));
  const std::vector<int32_t> ids = tokenizer->encode("ab a 🙂 b");
  EXPECT_EQ(joined(pieces_of(ids, *tokenizer)), "ab a 🙂 b");
}

TEST(TextStream, ShowsWhatIsLeftOfACharacterAtTheEnd) {
  std::vector<int32_t> ids = small_tokenizer().encode("a🙂");
  ids.pop_back();
  const std::vector<std::string> pieces = pieces_of(ids);
  EXPECT_EQ(pieces.front(), "a");
  EXPECT_EQ(joined(pieces), small_tokenizer().decode(ids));
}

}  // namespace
}  // namespace millrace
