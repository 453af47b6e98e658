// Conversations made of a list of words and sentences with blanks: a small data set for language models whose right
// answers are known exactly.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace millrace {

// What the user says and what the answer is, each with blanks {} for words.
struct SentencePattern {
  std::string question, answer;
};

struct SentenceList {
  std::vector<std::pair<std::string, std::string>> words;    // a word and what stands for it in the answer
  std::vector<SentencePattern> patterns, held_out_patterns;  // these are never trained
};

// Sections [words] (lines "cat = 🐱"), [patterns] and [held out patterns] (lines "question => answer", of which a
// question has at most two blanks and an answer no more than it; without an answer, what stands for the words is the
// answer); # starts a comment line. Throws DataError naming place and line.
SentenceList parse_sentence_list(std::string_view text, const std::string& place);

struct SentenceOptions {
  int64_t count = 500, held_out = 100;
  uint64_t seed = 1;
};

// Rows {"messages": [user, assistant]}, one JSON object each: patterns in turn, with words in the blanks of the
// question and what stands for these words in those of the answer. Of all ordered pairs of words one in ten occurs in
// held-out rows alone, and those have the held-out patterns. Throws DataError where the list has too few words for that
// many rows.
struct SentenceRows {
  std::vector<std::string> train, held_out;
};
SentenceRows make_sentence_rows(const SentenceList& list, const SentenceOptions& options, const std::string& place);

// Writes train.jsonl and held_out.jsonl into the folder. Throws StorageError.
void write_sentence_rows(const SentenceRows& rows, const std::filesystem::path& folder);

}  // namespace millrace
