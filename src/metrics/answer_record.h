// answers.json in a run's folder: what a language model answers to questions whose right answers are known.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace millrace {

struct AnsweredQuestion {
  std::string question, expected;
  std::optional<std::string> before;  // of the weights that training started from
  std::string after;
};

enum class AnswerMatch { kExact, kStart };  // what makes an answer right: all of it, or how it begins

struct AnswerRecord {
  int64_t step = 0;  // of the weights that answered
  AnswerMatch match = AnswerMatch::kExact;
  std::vector<AnsweredQuestion> questions;

  bool has_before() const { return !questions.empty() && questions.front().before.has_value(); }
  bool is_right(const AnsweredQuestion& one, const std::string& answer) const;
  int64_t right_before() const;
  int64_t right_after() const;
};

std::string to_json(const AnswerRecord& record);
// Nothing where the file is missing or damaged: a report is written anyway.
std::optional<AnswerRecord> read_answer_record(const std::filesystem::path& path);

}  // namespace millrace
