// A recursive-descent parser, with one function for each kind of value. Unwanted values are checked and discarded,
// so that reading one member of a large document needs no memory.
#include "formats/read_python_json.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>
#include <unordered_map>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/json_encoding.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMaxDigits = 4300;  // Python's sys.int_info.default_max_str_digits

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

class Parser {
 public:
  Parser(std::string_view text, std::string_view place, const PythonJsonLimits& limits)
      : text_(text), place_(place), limits_(limits) {}

  Json document() {
    skip_space();
    Json value = this->value(true);
    check_end();
    return value;
  }

  std::optional<Json> member(std::string_view key) {
    skip_space();
    std::optional<Json> found;
    if (peek() == '{') {
      object([&](const std::string& name) {
        const bool is_wanted = name == key;
        Json value = this->value(is_wanted);
        if (is_wanted) found = std::move(value);
      });
    } else {
      value(false);
    }
    check_end();
    return found;
  }

 private:
  [[noreturn]] void fail_syntax() const {
    throw DataError(str("[", place_, "] expected JSON, got a syntax error at byte ", at_));
  }
  void expect(bool holds) const {
    if (!holds) fail_syntax();
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool skip(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }
  void skip_space() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string_view::npos) ++at_;
  }
  void check_end() {
    skip_space();
    expect(at_ == text_.size());
  }

  // Starts at its first byte and ends after its last.
  Json value(bool keep) {
    if (keep && ++num_values_ > limits_.max_values)
      throw DataError(str("[", place_, "] expected JSON of at most ", limits_.max_values, " values, got more"));
    switch (peek()) {
      case '{':
        return keep ? kept_object() : forgotten_object();
      case '[':
        return array(keep);
      case '"': {
        std::string text = string();
        return keep ? Json(std::move(text)) : Json();
      }
      default:
        break;
    }
    if (skip("null")) return nullptr;
    if (skip("true")) return true;
    if (skip("false")) return false;
    if (skip("NaN")) return std::nan("");
    if (skip("Infinity")) return HUGE_VAL;
    if (skip("-Infinity")) return -HUGE_VAL;
    return number();
  }

  void enter() {
    if (++depth_ > limits_.max_depth)
      throw DataError(str("[", place_, "] expected JSON at most ", limits_.max_depth, " levels deep, got more"));
    ++at_;
    skip_space();
  }

  Json array(bool keep) {
    enter();
    Json list = keep ? Json::array() : Json();
    for (bool first = true; first ? !skip("]") : true; first = false) {
      Json item = value(keep);
      if (keep) list.push_back(std::move(item));
      skip_space();
      if (skip("]")) break;
      expect(skip(","));
      skip_space();
    }
    --depth_;
    return list;
  }

  // take_value(name) reads the value of each.
  template <typename TakeValue>
  void object(const TakeValue& take_value) {
    enter();
    for (bool first = true; first ? !skip("}") : true; first = false) {
      expect(peek() == '"');
      const std::string name = string();
      skip_space();
      expect(skip(":"));
      skip_space();
      take_value(name);
      skip_space();
      if (skip("}")) break;
      expect(skip(","));
      skip_space();
    }
    --depth_;
  }

  Json forgotten_object() {
    object([&](const std::string&) { value(false); });
    return {};
  }

  Json kept_object() {
    Json result = Json::object();
    auto& members = static_cast<Json::object_t::Container&>(result.get_ref<Json::object_t&>());
    std::unordered_map<std::string, size_t> places;
    object([&](const std::string& name) {
      Json member = value(true);
      const auto [place, is_new] = places.emplace(name, members.size());
      if (is_new) {
        members.emplace_back(name, std::move(member));
      } else {
        members[place->second].second = std::move(member);
      }
    });
    return result;
  }

  std::string string() {
    ++at_;
    std::string text;
    while (true) {
      const size_t begin = at_;
      while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\' &&
             static_cast<unsigned char>(text_[at_]) >= 0x20) {
        ++at_;
      }
      text.append(text_.substr(begin, at_ - begin));
      if (skip("\"")) return text;
      expect(peek() == '\\');
      ++at_;
      escape(text);
    }
  }

  void escape(std::string& text) {
    static constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
    if (const size_t letter = kLetters.find(peek()); at_ < text_.size() && letter != std::string_view::npos) {
      text += kMeanings[letter];
      ++at_;
      return;
    }
    expect(skip("u"));
    char32_t unit = hex_digits();
    const size_t behind = at_;
    if (unit >= 0xD800 && unit < 0xDC00 && skip("\\u")) {
      const std::optional<char32_t> low = try_hex_digits();
      if (low && *low >= 0xDC00 && *low < 0xE000) {
        unit = 0x10000 + ((unit - 0xD800) << 10) + (*low - 0xDC00);
      } else {
        at_ = behind;
      }
    }
    append_utf8(text, unit);
  }

  char32_t hex_digits() {
    const std::optional<char32_t> unit = try_hex_digits();
    expect(unit.has_value());
    return *unit;
  }
  std::optional<char32_t> try_hex_digits() {
    uint32_t unit = 0;
    if (text_.size() - at_ < 4) return std::nullopt;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, begin + 4, unit, 16);
    if (error != std::errc() || end != begin + 4) return std::nullopt;
    at_ += 4;
    return unit;
  }

  void skip_digits() {
    while (is_digit(peek())) ++at_;
  }

  Json number() {
    const size_t begin = at_;
    skip("-");
    const size_t first_digit = at_;
    if (!skip("0")) {
      expect(is_digit(peek()));
      skip_digits();
    }
    const size_t whole_end = at_;
    // The following characters belong to the number only if they are complete.
    if (peek() == '.' && at_ + 1 < text_.size() && is_digit(text_[at_ + 1])) {
      ++at_;
      skip_digits();
    }
    if (peek() == 'e' || peek() == 'E') {
      const size_t before = at_++;
      if (peek() == '+' || peek() == '-') ++at_;
      if (is_digit(peek())) {
        skip_digits();
      } else {
        at_ = before;
      }
    }
    const std::string_view digits = text_.substr(begin, at_ - begin);
    return at_ == whole_end ? whole_number(digits, whole_end - first_digit) : floating_point(digits);
  }

  Json whole_number(std::string_view digits, size_t count) const {
    if (count > kMaxDigits)
      throw DataError(str("[", place_, "] expected numbers of at most ", kMaxDigits, " digits, got one of ", count));
    const auto read = [&](auto value) -> std::optional<Json> {
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
      return error == std::errc() ? std::optional<Json>(value) : std::nullopt;
    };
    if (!digits.starts_with('-')) {
      if (auto value = read(uint64_t{})) return *value;
    } else if (auto value = read(int64_t{})) {
      return *value;
    }
    return Json::binary({digits.begin(), digits.end()});
  }

  static Json floating_point(std::string_view digits) {
    double value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error == std::errc::result_out_of_range) value = std::strtod(std::string(digits).c_str(), nullptr);
    return value;
  }

  std::string_view text_, place_;
  const PythonJsonLimits& limits_;
  size_t at_ = 0, depth_ = 0, num_values_ = 0;
};

// Returns read(parser) for the text in UTF-8.
template <typename Read>
auto parse(std::string_view bytes, std::string_view place, const PythonJsonLimits& limits, const Read& read) {
  if (bytes.size() > limits.max_bytes)
    throw DataError(str("[", place, "] expected JSON of at most ", human_bytes(limits.max_bytes), ", got ",
                        human_bytes(bytes.size())));
  std::string scratch;
  const std::optional<std::string_view> text = json_as_utf8(bytes, scratch);
  if (!text) throw DataError(str("[", place, "] expected JSON in UTF-8, UTF-16 or UTF-32, got other bytes"));
  if (text->empty()) throw DataError(str("[", place, "] expected JSON, got an empty file"));
  Parser parser(*text, place, limits);
  return read(parser);
}

}  // namespace

Json parse_python_json(std::string_view bytes, std::string_view place, const PythonJsonLimits& limits) {
  return parse(bytes, place, limits, [](Parser& parser) { return parser.document(); });
}

std::optional<Json> python_json_member(std::string_view bytes, std::string_view key, std::string_view place,
                                       const PythonJsonLimits& limits) {
  return parse(bytes, place, limits, [&](Parser& parser) { return parser.member(key); });
}

}  // namespace millrace
