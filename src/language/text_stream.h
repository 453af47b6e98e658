// A text that is shown while its tokens still come.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tokenizers/tokenizer.h"

namespace millrace {

// The pieces together are what decode() gives for all tokens of a byte-level tokenizer. A character whose bytes are
// spread over several tokens is shown once it is whole.
class TextStream {
 public:
  // tokenizer must outlive the stream.
  TextStream(const Tokenizer& tokenizer, std::function<void(const std::string& piece)> on_piece)
      : tokenizer_(tokenizer), on_piece_(std::move(on_piece)) {}

  void add(int32_t token);
  // No more tokens come: shows what is left, whole or not.
  void finish();

 private:
  const Tokenizer& tokenizer_;
  std::function<void(const std::string& piece)> on_piece_;
  std::vector<int32_t> waiting_;  // not shown yet
  bool begun_ = false;            // something of the text came
};

}  // namespace millrace
