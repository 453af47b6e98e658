// Which bytes of a rendered conversation are the assistant's.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "language/chat_template.h"
#include "tokenizers/byte_level_tokenizer.h"

namespace millrace {

// What the template marks itself; else a turn begins where the template ends when it is asked for the header of the
// answer to what came before, and ends where the template ends with this message; line ends behind its end token are
// left out. A template may leave the beginning of earlier turns out once later ones follow (Qwen3's do with thoughts):
// what is left is the turn. Where a template changes earlier messages otherwise, marks find the turn (marked_turn.h).
// Throws DataError naming place where turns cannot be told apart.
RenderedChat render_with_spans(const ChatTemplate& chat_template, const ByteLevelTokenizer& tokenizer,
                               const nlohmann::ordered_json& arguments, const std::string& place);

}  // namespace millrace
