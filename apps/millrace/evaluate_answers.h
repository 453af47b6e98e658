// millrace evaluate --answers: the right answers of a language model, before and after training.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "checkpoint/run_weights.h"
#include "config/run_config.h"

namespace millrace {

struct AnswerOptions {
  std::filesystem::path run;  // empty: the weights of checkpoint.initial_load_path
  int64_t step = -1;
  WhichWeights which = WhichWeights::kBest;
  int64_t max_questions = 0;  // 0: all
  bool by_start = false;      // an answer is right if it begins with the expected one
  bool json = false;
};

// Answers the rows to validate on, prints the answers side by side and how many are exactly right, and keeps them in
// the run's folder and its report. Throws ConfigError for a task that writes no texts.
void evaluate_answers(const RunConfig& config, const AnswerOptions& options);

}  // namespace millrace
