#include "language/text_stream.h"

#include "base/text.h"

namespace millrace {

void TextStream::add(int32_t token) {
  constexpr const char* kIncomplete = "\xEF\xBF\xBD";  // U+FFFD: bytes that do not form a character
  waiting_.push_back(token);
  if (!ends_with(tokenizer_.decode(waiting_), kIncomplete)) finish();
}

void TextStream::finish() {
  if (waiting_.empty()) return;
  std::string text = tokenizer_.decode_behind(waiting_);
  const bool first = !begun_ && !text.empty();
  if (first) text = tokenizer_.decode(waiting_);
  begun_ = begun_ || first;
  waiting_.clear();
  if (!text.empty()) on_piece_(text);
}

}  // namespace millrace
