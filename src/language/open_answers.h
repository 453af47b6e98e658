// Finds answers that are trained without the token that ends them: a model would learn to answer, but not to stop.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "language/token_batches.h"

namespace millrace {

struct OpenAnswer {
  std::string place;   // of the row
  std::string sample;  // as it is trained (shown_sample.h), its beginning if it is long
};

// In the first rows of conversations. Answers that the longest length cuts off, and bad rows, do not count.
std::optional<OpenAnswer> find_open_answer(const TokenSource& source, int64_t rows);

// What the maximum length does to the first conversations. checked: how many were looked at, without bad rows.
struct CutAnswers {
  int64_t checked = 0;
  int64_t rows = 0;   // without a token to train, as they are cut before their first answer
  std::string place;  // of the first of them
  int64_t open = 0;   // that are cut in an answer, which is trained without its end token
  OpenAnswer first_open;
};
CutAnswers count_cut_answers(const TokenSource& source, int64_t rows);

}  // namespace millrace
