#include "formats/json.h"

#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/quote.h"

namespace millrace {
namespace {

template <typename Failure, typename json>
json parse(std::string_view text, std::string_view place, const JsonLimits& limits) {
  std::vector<std::set<std::string>> keys;  // of the open objects; an empty set for an open array
  size_t value_count = 0;
  const auto fail = [&](const std::string& expected, const std::string& got) {
    throw Failure(str("[", place, "] expected ", expected, ", got ", got));
  };
  // The parser reads a NUL as the end of the text.
  if (const size_t nul = text.find('\0'); nul != std::string_view::npos) fail("JSON", str("a zero byte at ", nul));
  const typename json::parser_callback_t check = [&](int, typename json::parse_event_t event, json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
      case json::parse_event_t::array_start:
        keys.emplace_back();
        if (keys.size() > limits.max_depth) fail(str("JSON at most ", limits.max_depth, " levels deep"), "more");
        break;
      case json::parse_event_t::object_end:
      case json::parse_event_t::array_end:
        keys.pop_back();
        break;
      case json::parse_event_t::key:
        if (!keys.back().insert(parsed.template get_ref<const std::string&>()).second) {
          fail("keys that differ", in_quotes(parsed.template get_ref<const std::string&>()) + " twice");
        }
        break;
      case json::parse_event_t::value:
        break;
    }
    if (++value_count > limits.max_values) fail(str("JSON of at most ", limits.max_values, " values"), "more");
    return true;
  };
  try {
    return json::parse(text.begin(), text.end(), check);
  } catch (const nlohmann::detail::parse_error& error) {
    fail("JSON", str("a syntax error at byte ", error.byte));
  } catch (const nlohmann::detail::exception&) {
    fail("JSON", "a number out of range");
  }
  return {};
}

}  // namespace

template <typename Failure>
nlohmann::json parse_json(std::string_view text, std::string_view place, const JsonLimits& limits) {
  return parse<Failure, nlohmann::json>(text, place, limits);
}
template <typename Failure>
nlohmann::ordered_json parse_ordered_json(std::string_view text, std::string_view place, const JsonLimits& limits) {
  return parse<Failure, nlohmann::ordered_json>(text, place, limits);
}

template nlohmann::json parse_json<ConfigError>(std::string_view, std::string_view, const JsonLimits&);
template nlohmann::json parse_json<DataError>(std::string_view, std::string_view, const JsonLimits&);
template nlohmann::json parse_json<ModelError>(std::string_view, std::string_view, const JsonLimits&);
template nlohmann::json parse_json<StorageError>(std::string_view, std::string_view, const JsonLimits&);
template nlohmann::ordered_json parse_ordered_json<ConfigError>(std::string_view, std::string_view, const JsonLimits&);
template nlohmann::ordered_json parse_ordered_json<DataError>(std::string_view, std::string_view, const JsonLimits&);
template nlohmann::ordered_json parse_ordered_json<ModelError>(std::string_view, std::string_view, const JsonLimits&);

}  // namespace millrace
