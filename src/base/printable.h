// Names from files, and messages, as parts of other messages.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

// A name for a message or a terminal: UTF-8 as it is, control characters and other bytes as \n, \x1b, \xe9.
std::string printable(std::string_view name);

// "[a.tar] expected X, got Y" -> "expected X, got Y", for a message that names the place itself.
std::string without_place(const std::string& message);

}  // namespace millrace
