// Where a turn lies in a conversation, by marks around what its messages say.
#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include <nlohmann/json.hpp>

#include "language/chat_template.h"
#include "tokenizers/byte_level_tokenizer.h"

namespace millrace {

// The conversation up to its message `count`, and what else the template knows.
nlohmann::ordered_json first_messages(const nlohmann::ordered_json& arguments, size_t count);

// [begin, end) of message `index`, an assistant's, in `whole`, which is what the template makes of all of `arguments`.
// For templates that write earlier messages another way once later ones follow. The turn begins behind as much of the
// header that asks for it, and ends with as much of what the template ends with it, as `whole` has: all of that, or
// what ends with a special token (a header: or a line). Marks lead to both. Throws DataError naming place, message and
// reason where marks change what the template writes, don't come out of it or stand beside something else.
std::pair<size_t, size_t> marked_turn(const ChatTemplate& chat_template, const ByteLevelTokenizer& tokenizer,
                                      const nlohmann::ordered_json& arguments, size_t index, const std::string& whole,
                                      const std::string& place);

}  // namespace millrace
