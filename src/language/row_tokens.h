// From a row of a data set to tokens and labels.
#pragma once

#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "language/llama3_tokens.h"
#include "language/prompt_template.h"
#include "language/row_format.h"
#include "language/token_sample.h"

namespace millrace {

struct RowTokenOptions {
  RowFormat format;
  std::optional<int64_t> max_length;
  Truncation truncation = Truncation::kRight;
  bool add_eos = true;  // kText: the text ends with <|end_of_text|>
  LabelShift shift = LabelShift::kByOne;
  PromptTemplate prompt_template;  // of conversations
};

// Conversations in torchtune's layout. A text is <|begin_of_text|> text [<|end_of_text|>], at most max_length - 1
// tokens of it and none when it is empty; all of it is trained. Throws DataError naming place.
TokenSample tokens_of_row(const nlohmann::ordered_json& row, const RowTokenOptions& options, const Llama3Tokens& tokens,
                          const std::string& place);

}  // namespace millrace
