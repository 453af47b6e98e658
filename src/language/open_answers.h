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

// How many of the first conversations have no token to train because they are cut at the maximum length before their
// first answer. checked: how many were looked at, without bad rows.
struct CutAnswers {
  int64_t rows = 0, checked = 0;
  std::string place;  // of the first
};
CutAnswers count_cut_answers(const TokenSource& source, int64_t rows);

}  // namespace millrace
