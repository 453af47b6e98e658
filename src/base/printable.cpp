#include "base/printable.h"

#include "base/text.h"

namespace millrace {

std::string printable(std::string_view name) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string shown;
  const auto escape = [&](char c) {
    const auto byte = static_cast<unsigned char>(c);
    shown.append("\\x").append(1, kDigits[byte >> 4]).append(1, kDigits[byte & 15]);
  };
  for (size_t i = 0; i < name.size();) {
    const auto lead = static_cast<unsigned char>(name[i]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    const std::string_view character = name.substr(i, length);
    const bool is_control =
        lead < 0x20 || lead == 0x7F || (lead == 0xC2 && static_cast<signed char>(character.back()) < -96);
    if (character == "\n") {
      shown += "\\n";
    } else if (character.size() == length && is_valid_utf8(character) && !is_control) {
      shown += character;
    } else {
      escape(name[i++]);  // the next byte may begin a character
      continue;
    }
    i += length;
  }
  return shown;
}

std::string without_place(const std::string& message) {
  const size_t end = message.starts_with('[') ? message.find("] ") : std::string::npos;
  return end == std::string::npos ? message : message.substr(end + 2);
}

}  // namespace millrace
