#include "language/jinja/expression_parser.h"

#include <algorithm>
#include <charconv>

#include "base/log.h"
#include "base/text.h"
#include "tokenizers/unicode.h"

namespace millrace::jinja {
namespace {

using ExpressionKind = Expression::Kind;

constexpr int kMaxDepth = 100;
constexpr std::string_view kWords[] = {"and", "or", "not", "in", "is", "if", "else"};

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_word(std::string_view text) {
  return std::find(std::begin(kWords), std::end(kWords), text) != std::end(kWords);
}

}  // namespace

ExpressionParser::ExpressionParser(std::string_view source, const std::string& place, int line)
    : place_(place), line_(line) {
  tokenize(source);
}

void ExpressionParser::fail(const std::string& expected) const {
  fail_template(place_, line_, expected,
                at_end() ? "the end of the expression" : "\"" + unicode::replace_invalid_utf8(peek().text) + "\"");
}

// One string literal; `at` is at its quote.
size_t ExpressionParser::read_string(std::string_view source, size_t at) {
  const char quote = source[at++];
  std::string text;
  for (; at < source.size() && source[at] != quote; ++at) {
    if (source[at] != '\\' || at + 1 == source.size()) {
      text += source[at];
      continue;
    }
    const char c = source[++at];
    constexpr std::string_view from = "nrt\\'\"", to = "\n\r\t\\'\"";
    const size_t known = from.find(c);
    if (known == std::string_view::npos) {
      fail_template(place_, line_, "one of the escapes \\n \\r \\t \\\\ \\' \\\"", str("\\", c));
    }
    text += to[known];
  }
  if (at >= source.size()) fail_template(place_, line_, "the end of a text", "the end of the expression");
  tokens_.push_back({Token::Kind::kString, text});
  return at + 1;
}

void ExpressionParser::tokenize(std::string_view source) {
  for (size_t at = 0; at < source.size();) {
    const char c = source[at];
    size_t end = at;
    if (std::string_view(" \t\r\n\v\f").find(c) != std::string_view::npos) {
      ++at;
      continue;
    }
    if (c == '\'' || c == '"') {
      at = read_string(source, at);
      continue;
    }
    if (is_name_start(c)) {
      while (end < source.size() && (is_name_start(source[end]) || is_digit(source[end]))) ++end;
      tokens_.push_back({Token::Kind::kName, std::string(source.substr(at, end - at))});
    } else if (is_digit(c)) {
      while (end < source.size() && is_digit(source[end])) ++end;
      const bool is_float = end + 1 < source.size() && source[end] == '.' && is_digit(source[end + 1]);
      if (is_float) {
        for (++end; end < source.size() && is_digit(source[end]);) ++end;
      }
      tokens_.push_back({is_float ? Token::Kind::kFloat : Token::Kind::kInt, std::string(source.substr(at, end - at))});
    } else {
      const std::string_view pair = source.substr(at, 2);
      const bool two = pair == "==" || pair == "!=" || pair == "<=" || pair == ">=" || pair == "//";
      end = at + (two ? 2 : 1);
      if (!two && std::string_view("+-*/%~<>=()[]{},.:|").find(c) == std::string_view::npos) {
        fail_template(place_, line_, "an expression",
                      "\"" + unicode::replace_invalid_utf8(source.substr(at, 8)) + "\"");
      }
      tokens_.push_back({Token::Kind::kSign, std::string(source.substr(at, end - at))});
    }
    at = end;
  }
  tokens_.push_back({});
}

bool ExpressionParser::take_name(std::string_view word) {
  if (peek().kind != Token::Kind::kName || peek().text != word) return false;
  ++at_;
  return true;
}
bool ExpressionParser::next_is_sign(std::string_view sign) const {
  return peek().kind == Token::Kind::kSign && peek().text == sign;
}
bool ExpressionParser::take_sign(std::string_view sign) {
  if (!next_is_sign(sign)) return false;
  ++at_;
  return true;
}
void ExpressionParser::expect_sign(std::string_view sign) {
  if (!take_sign(sign)) fail(str("\"", sign, "\""));
}
void ExpressionParser::expect_end() {
  if (!at_end()) fail("the end of the expression");
}
std::string ExpressionParser::name(const char* what) {
  if (peek().kind != Token::Kind::kName || is_word(peek().text)) fail(what);
  return tokens_[at_++].text;
}

ExpressionPtr ExpressionParser::make(Expression&& expression) const {
  expression.line = line_;
  return std::make_shared<const Expression>(std::move(expression));
}

ExpressionPtr ExpressionParser::binary(const std::string& name, ExpressionPtr left, ExpressionPtr right) const {
  return make({.kind = ExpressionKind::kBinary, .name = name, .parts = {std::move(left), std::move(right)}});
}

template <typename Next>
ExpressionPtr ExpressionParser::left_associative(std::initializer_list<const char*> signs, Next next) {
  ExpressionPtr left = next();
  while (true) {
    const char* found = nullptr;
    for (const char* sign : signs) {
      if (next_is_sign(sign)) found = sign;
    }
    if (found == nullptr) return left;
    ++at_;
    left = binary(found, left, next());
  }
}

ExpressionPtr ExpressionParser::expression() {
  if (++depth_ > kMaxDepth) fail("an expression nested less deeply");
  ExpressionPtr value = without_condition();
  while (take_name("if")) {
    ExpressionPtr condition = without_condition();
    Expression choice{.kind = ExpressionKind::kConditional, .parts = {value, condition, nullptr}};
    if (take_name("else")) choice.parts[2] = expression();
    value = make(std::move(choice));
  }
  --depth_;
  return value;
}

ExpressionPtr ExpressionParser::expression_or_tuple() {
  ExpressionPtr first = expression();
  if (!next_is_sign(",")) return first;
  Expression tuple{.kind = ExpressionKind::kList, .parts = {first}};
  while (take_sign(",")) {
    if (at_end()) break;
    tuple.parts.push_back(expression());
  }
  return make(std::move(tuple));
}

std::vector<std::string> ExpressionParser::target_names() {
  std::vector<std::string> names;
  const bool bracket = take_sign("(");
  do names.push_back(name("a name"));
  while (take_sign(","));
  if (bracket) expect_sign(")");
  return names;
}

ExpressionPtr ExpressionParser::without_condition() {
  ExpressionPtr left = conjunction();
  while (take_name("or")) left = binary("or", left, conjunction());
  return left;
}

ExpressionPtr ExpressionParser::conjunction() {
  ExpressionPtr left = negation();
  while (take_name("and")) left = binary("and", left, negation());
  return left;
}

ExpressionPtr ExpressionParser::negation() {
  if (!take_name("not")) return comparison();
  if (++depth_ > kMaxDepth) fail("an expression nested less deeply");
  ExpressionPtr inner = negation();
  --depth_;
  return make({.kind = ExpressionKind::kUnary, .name = "not", .parts = {inner}});
}

// a < b < c means a < b and b < c, as in Python.
ExpressionPtr ExpressionParser::comparison() {
  ExpressionPtr left = sum(), chain;
  while (true) {
    std::string sign;
    for (const char* one : {"==", "!=", "<", "<=", ">", ">="}) {
      if (next_is_sign(one)) sign = one;
    }
    if (!sign.empty()) {
      ++at_;
    } else if (take_name("in")) {
      sign = "in";
    } else if (peek().text == "not" && peek(1).text == "in" && peek(1).kind == Token::Kind::kName) {
      at_ += 2;
      sign = "not in";
    } else {
      return chain ? chain : left;
    }
    ExpressionPtr right = sum();
    ExpressionPtr one = binary(sign, left, right);
    chain = chain ? binary("and", chain, one) : one;
    left = right;
  }
}

ExpressionPtr ExpressionParser::sum() {
  return left_associative({"+", "-"}, [&] { return concatenation(); });
}
ExpressionPtr ExpressionParser::concatenation() {
  return left_associative({"~"}, [&] { return product(); });
}
ExpressionPtr ExpressionParser::product() {
  return left_associative({"*", "/", "//", "%"}, [&] { return unary(); });
}

ExpressionPtr ExpressionParser::unary(bool with_filters) {
  if (++depth_ > kMaxDepth) fail("an expression nested less deeply");
  ExpressionPtr value;
  if (next_is_sign("-") || next_is_sign("+")) {
    const std::string sign = tokens_[at_++].text;
    value = make({.kind = ExpressionKind::kUnary, .name = sign, .parts = {unary(false)}});
  } else {
    value = postfix(primary());
  }
  if (with_filters) value = filters(value);
  --depth_;
  return value;
}

ExpressionPtr ExpressionParser::primary() {
  const Token token = peek();
  const auto literal = [&](Value value) { return make({.kind = ExpressionKind::kLiteral, .value = std::move(value)}); };
  switch (token.kind) {
    case Token::Kind::kString: {
      std::string text;
      while (peek().kind == Token::Kind::kString) text += tokens_[at_++].text;
      return literal(Value::of(text));
    }
    case Token::Kind::kInt: {
      int64_t number = 0;
      const auto [end, error] = std::from_chars(token.text.data(), token.text.data() + token.text.size(), number);
      if (error != std::errc()) fail("a number of at most 64 bits");
      ++at_;
      return literal(Value::of(number));
    }
    case Token::Kind::kFloat:
      ++at_;
      return literal(Value::of(std::stod(token.text)));
    case Token::Kind::kName:
      break;
    case Token::Kind::kSign:
      if (token.text == "{") return dict();
      if (token.text == "(" || token.text == "[") {
        ++at_;
        const char* close = token.text == "(" ? ")" : "]";
        Expression list{.kind = ExpressionKind::kList};
        bool comma = false;
        while (!next_is_sign(close)) {
          list.parts.push_back(expression());
          if (!take_sign(",")) break;
          comma = true;
        }
        expect_sign(close);
        const bool grouped = token.text == "(" && list.parts.size() == 1 && !comma;
        return grouped ? list.parts[0] : make(std::move(list));
      }
      fail("a value");
    case Token::Kind::kEnd:
      fail("a value");
  }
  if (is_word(token.text)) fail("a value");
  ++at_;
  if (token.text == "true" || token.text == "True") return literal(Value::of(true));
  if (token.text == "false" || token.text == "False") return literal(Value::of(false));
  if (token.text == "none" || token.text == "None") return literal(Value::none());
  return make({.kind = ExpressionKind::kName, .name = token.text});
}

ExpressionPtr ExpressionParser::dict() {
  expect_sign("{");
  Expression dict{.kind = ExpressionKind::kDict};
  while (!next_is_sign("}")) {
    dict.parts.push_back(expression());
    expect_sign(":");
    dict.parts.push_back(expression());
    if (!take_sign(",")) break;
  }
  expect_sign("}");
  return make(std::move(dict));
}

ExpressionPtr ExpressionParser::postfix(ExpressionPtr inner) {
  for (int count = 0;; ++count) {
    if (count > kMaxDepth) fail("a shorter chain");
    if (take_sign(".")) {
      const std::string attribute = name("an attribute's name");
      if (next_is_sign("(")) {
        if (!is_known_method(attribute)) fail(str("a method that is known, not ", attribute));
        inner = make({.kind = ExpressionKind::kMethod, .name = attribute, .parts = {inner}, .arguments = arguments()});
      } else {
        inner = make({.kind = ExpressionKind::kAttribute, .name = attribute, .parts = {inner}});
      }
    } else if (next_is_sign("[")) {
      inner = item(inner);
    } else if (next_is_sign("(")) {
      inner = make({.kind = ExpressionKind::kCall, .parts = {inner}, .arguments = arguments()});
    } else {
      return inner;
    }
  }
}

ExpressionPtr ExpressionParser::item(ExpressionPtr inner) {
  expect_sign("[");
  Expression slice{.kind = ExpressionKind::kSlice, .parts = {inner, nullptr, nullptr, nullptr}};
  size_t part = 1;
  bool colon = false;
  for (; part <= 3; ++part) {
    if (!next_is_sign(":") && !next_is_sign("]")) slice.parts[part] = expression();
    if (!take_sign(":")) break;
    colon = true;
  }
  expect_sign("]");
  if (colon) return make(std::move(slice));
  if (slice.parts[1] == nullptr) fail("an index");
  return make({.kind = ExpressionKind::kItem, .parts = {inner, slice.parts[1]}});
}

ExpressionPtr ExpressionParser::filters(ExpressionPtr inner) {
  for (int count = 0;; ++count) {
    if (count > kMaxDepth) fail("a shorter chain");
    if (take_sign("|")) {
      const std::string filter = name("a filter");
      if (!is_known_filter(filter)) fail(str("a filter that is known, not ", filter));
      Expression expression{.kind = ExpressionKind::kFilter, .name = filter, .parts = {inner}};
      if (next_is_sign("(")) expression.arguments = arguments();
      inner = make(std::move(expression));
    } else if (take_name("is")) {
      inner = test(inner);
    } else {
      return inner;
    }
  }
}

ExpressionPtr ExpressionParser::test(ExpressionPtr inner) {
  const bool negated = take_name("not");
  std::string name_of_test = take_name("in") ? "in" : name("a test");
  if (!is_known_test(name_of_test)) fail(str("a test that is known, not ", name_of_test));
  Expression expression{.kind = ExpressionKind::kTest, .name = name_of_test, .parts = {inner}};
  const bool literal = peek().kind == Token::Kind::kString || peek().kind == Token::Kind::kInt;
  const bool plain_name = peek().kind == Token::Kind::kName && !is_word(peek().text);
  if (next_is_sign("(")) {
    expression.arguments = arguments();
  } else if (literal || plain_name || next_is_sign("[")) {
    expression.arguments.push_back({"", postfix(primary())});
  }
  ExpressionPtr value = make(std::move(expression));
  return negated ? make({.kind = ExpressionKind::kUnary, .name = "not", .parts = {value}}) : value;
}

std::vector<Argument> ExpressionParser::arguments() {
  expect_sign("(");
  std::vector<Argument> all;
  while (!next_is_sign(")")) {
    Argument argument;
    const bool named = peek().kind == Token::Kind::kName && peek(1).kind == Token::Kind::kSign && peek(1).text == "=";
    if (named) {
      argument.name = name("an argument");
      expect_sign("=");
    }
    argument.value = expression();
    all.push_back(std::move(argument));
    if (!take_sign(",")) break;
  }
  expect_sign(")");
  return all;
}

}  // namespace millrace::jinja
