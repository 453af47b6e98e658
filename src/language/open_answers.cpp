#include "language/open_answers.h"

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "language/shown_sample.h"
#include "tokenizers/unicode.h"

namespace millrace {
namespace {

constexpr size_t kMostShownBytes = 2000;

bool is_cut(const TokenSample& sample, int64_t max_length) {
  return max_length > 0 && sample.tokens.size() >= static_cast<size_t>(max_length);
}

// In the first tokens of a sample: answers whose last token is not one that ends them.
bool has_open_answer(const TokenSample& sample, const RowEncoder& encoder, size_t first_tokens) {
  const std::vector<int32_t> ends = encoder.stop_tokens();
  const auto trained = [&](size_t token) { return is_trained(sample, token, encoder.label_shift()); };
  for (size_t token = 0; token < first_tokens; ++token) {
    const bool is_last = trained(token) && (token + 1 == sample.tokens.size() || !trained(token + 1));
    if (is_last && std::ranges::find(ends, sample.tokens[token]) == ends.end()) return true;
  }
  return false;
}

OpenAnswer shown_answer(const TokenSource& source, int64_t row, const TokenSample& sample) {
  std::string text = shown_text(shown_pieces(sample, source.encoder_of(row)), /*colours=*/false);
  if (text.size() > kMostShownBytes) {
    text = std::string(unicode::replace_invalid_utf8(text.substr(0, kMostShownBytes))) + "...";
  }
  return {source.rows->place(row), std::move(text)};
}

}  // namespace

std::optional<OpenAnswer> find_open_answer(const TokenSource& source, int64_t rows) {
  for (int64_t row = 0; row < std::min(rows, source.rows->size()); ++row) {
    const RowEncoder& encoder = source.encoder_of(row);
    if (!encoder.has_conversations()) continue;
    try {
      const TokenSample sample = source.sample(row);
      const size_t size = sample.tokens.size();
      // Where a row was cut, its last token may have become the end of the text, which is not trained.
      const size_t end = is_cut(sample, source.max_length) ? size - std::min<size_t>(size, 2) : size;
      if (has_open_answer(sample, encoder, end)) return shown_answer(source, row, sample);
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
      if (!is_cut(sample, source.max_length)) continue;
      bool has_trained = false;
      for (size_t token = 0; token < sample.tokens.size(); ++token) {
        has_trained = has_trained || is_trained(sample, token, encoder.label_shift());
      }
      if (!has_trained && cut.rows++ == 0) cut.place = source.rows->place(row);
      if (has_open_answer(sample, encoder, sample.tokens.size()) && cut.open++ == 0) {
        cut.first_open = shown_answer(source, row, sample);
      }
    } catch (const DataError&) {
      continue;  // counted when it is trained
    }
  }
  return cut;
}

}  // namespace millrace
