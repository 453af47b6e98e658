// Texts from what a task has trained, without naming its model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <torch/types.h>

#include "checkpoint/run_weights.h"
#include "config/run_config.h"

namespace millrace {

// What replaces the options of [sample], and what the turns are.
struct TextSampling {
  std::optional<int64_t> max_new_tokens;
  std::optional<double> temperature, top_p;
  std::optional<int64_t> seed;
  bool from_rows = false;  // turns of questions(), which have the words that their rows' form puts around them
};

class TextSampler {
 public:
  virtual ~TextSampler() = default;
  // turns: what the user says and what the assistant has answered, by turns, beginning and ending with the user; one
  // turn for models of plain text. number: which of several texts it is, for what is drawn. on_piece: gets the text in
  // pieces, as it is written.
  virtual std::string answer(const std::vector<std::string>& turns, const TextSampling& sampling, int64_t number,
                             const std::function<void(const std::string& piece)>& on_piece = {}) = 0;
  virtual bool has_conversations() const = 0;  // else the model continues texts

  // The rows to validate on, as questions: the turns up to the last answer, which is the right one. Throws ConfigError
  // where there are none or they are texts, DataError for rows that do not end with an answer.
  struct Question {
    std::vector<std::string> turns;
    std::string answer;
  };
  virtual std::vector<Question> questions() const = 0;
};

// run: the trained weights of a run with this configuration; null: those of checkpoint.initial_load_path.
using MakeTextSampler = std::unique_ptr<TextSampler> (*)(const RunConfig& config, const OpenRunWeights* run,
                                                         torch::Device device);

}  // namespace millrace
