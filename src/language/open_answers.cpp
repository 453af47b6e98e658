#include "language/open_answers.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "language/shown_sample.h"
#include "tokenizers/unicode.h"

namespace millrace {
namespace {

constexpr size_t kMostShownBytes = 2000;

bool has_open_answer(const TokenSample& sample, const RowEncoder& encoder, int64_t max_length) {
  const std::vector<int32_t> ends = encoder.stop_tokens();
  const auto trained = [&](size_t token) { return is_trained(sample, token, encoder.label_shift()); };
  const size_t size = sample.tokens.size();
  const bool is_cut = max_length > 0 && size >= static_cast<size_t>(max_length);
  // Where a row was cut, its last token may have become the end of the text, which is not trained.
  const size_t end = is_cut ? size - std::min<size_t>(size, 2) : size;
  for (size_t token = 0; token < end; ++token) {
    const bool is_last = trained(token) && (token + 1 == size || !trained(token + 1));
    if (is_last && std::ranges::find(ends, sample.tokens[token]) == ends.end()) return true;
  }
  return false;
}

}  // namespace

std::optional<OpenAnswer> find_open_answer(const TokenSource& source, int64_t rows) {
  for (int64_t row = 0; row < std::min(rows, source.rows->size()); ++row) {
    const RowEncoder& encoder = source.encoder_of(row);
    if (!encoder.has_conversations()) continue;
    try {
      const TokenSample sample = source.sample(row);
      if (!has_open_answer(sample, encoder, source.max_length)) continue;
      std::string text = shown_text(shown_pieces(sample, encoder), /*colours=*/false);
      if (text.size() > kMostShownBytes) {
        text = std::string(unicode::replace_invalid_utf8(text.substr(0, kMostShownBytes))) + "...";
      }
      return OpenAnswer{source.rows->place(row), std::move(text)};
    } catch (const DataError&) {
      continue;  // counted when it is trained
    }
  }
  return std::nullopt;
}

CutAnswers count_cut_answers(const TokenSource& source, int64_t rows) {
  CutAnswers cut;
  for (int64_t row = 0; row < std::min(rows, source.rows->size()); ++row) {
    const RowEncoder& encoder = source.encoder_of(row);
    if (!encoder.has_conversations()) continue;
    try {
      const TokenSample sample = source.sample(row);
      ++cut.checked;
      const bool is_cut = source.max_length > 0 && sample.tokens.size() >= static_cast<size_t>(source.max_length);
      if (!is_cut) continue;
      bool has_trained = false;
      for (size_t token = 0; token < sample.tokens.size(); ++token) {
        has_trained = has_trained || is_trained(sample, token, encoder.label_shift());
      }
      if (!has_trained && cut.rows++ == 0) cut.place = source.rows->place(row);
    } catch (const DataError&) {
      continue;  // counted when it is trained
    }
  }
  return cut;
}

}  // namespace millrace
