// What a run would see of a data set of text.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/thread_pool.h"
#include "language/shown_sample.h"
#include "language/token_batches.h"

namespace millrace {

struct TextDataSummary {
  int64_t rows = 0, bad_rows = 0;
  std::vector<std::string> problems;  // of the first bad rows
  int64_t tokens = 0;                 // of the others, as they are trained: cut to the longest length
  int64_t trained_tokens = 0;         // with a loss
  int64_t untrained_rows = 0;         // without any such token
  int64_t truncated_rows = 0;
  int64_t shortest = 0, median = 0, longest = 0;  // tokens of a row, before it is cut
  std::string longest_place;

  // The first row that can be used.
  std::string example_place;
  std::vector<ShownPiece> example;
};

// source: as rows are trained; uncut: the same rows without a longest length. Tokenises every row once or, where they
// differ, twice, by all threads of the pool.
TextDataSummary summarise_rows(const TokenSource& source, const TokenSource& uncut, ThreadPool& pool);

// For people; colours: of a terminal, in which trained tokens are green.
std::string summary_text(const TextDataSummary& summary, bool colours);
// {"rows", "bad_rows", "tokens", "trained_tokens", ..., "example": [{"text", "trained"}, ...]}
std::string summary_json(const TextDataSummary& summary);

}  // namespace millrace
