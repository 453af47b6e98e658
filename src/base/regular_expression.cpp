#include "base/regular_expression.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/error.h"
#include "base/log.h"

namespace millrace {
namespace {

PCRE2_SPTR bytes_of(const std::string& text) {
  return reinterpret_cast<PCRE2_SPTR>(text.data());
}

std::string message_of(int code) {
  PCRE2_UCHAR text[256];
  if (pcre2_get_error_message(code, text, sizeof text) < 0) return str("error ", code);
  return reinterpret_cast<const char*>(text);
}

}  // namespace

RegularExpression::RegularExpression(const std::string& pattern) : pattern_(pattern) {
  int code = 0;
  PCRE2_SIZE offset = 0;
  pcre2_code* const compiled = pcre2_compile(bytes_of(pattern), pattern.size(), 0, &code, &offset, nullptr);
  if (compiled == nullptr) throw ConfigError(str(message_of(code), " at ", offset));
  code_ = {compiled, [](const void* p) { pcre2_code_free(static_cast<pcre2_code*>(const_cast<void*>(p))); }};
}

bool RegularExpression::found_in(const std::string& text) const {
  return match(text, false);
}

bool RegularExpression::matches(const std::string& text) const {
  return match(text, true);
}

bool RegularExpression::match(const std::string& text, bool whole) const {
  const auto* code = static_cast<const pcre2_code*>(code_.get());
  const std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create_from_pattern(code, nullptr), &pcre2_match_data_free);
  if (!data) throw std::bad_alloc();
  const uint32_t options = whole ? PCRE2_ANCHORED | PCRE2_ENDANCHORED : 0;
  const int found = pcre2_match(code, bytes_of(text), text.size(), 0, options, data.get(), nullptr);
  if (found < 0 && found != PCRE2_ERROR_NOMATCH) {
    throw ConfigError(str("[", pattern_, "] expected a regular expression that can be tried on \"", text,
                          "\", got: ", message_of(found)));
  }
  return found >= 0;
}

}  // namespace millrace
