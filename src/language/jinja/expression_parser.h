// Expressions of a template, by recursive descent in Jinja's order of precedence.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "language/jinja/syntax.h"

namespace millrace::jinja {

struct Token {
  enum class Kind { kName, kString, kInt, kFloat, kSign, kEnd };
  Kind kind = Kind::kEnd;
  std::string text;  // of kString: its content
};

class ExpressionParser {
 public:
  ExpressionParser(std::string_view source, const std::string& place, int line);

  ExpressionPtr expression();               // a if b else c
  ExpressionPtr without_condition();        // a or b, as `for ... in` takes it
  ExpressionPtr expression_or_tuple();      // a, b
  std::vector<std::string> target_names();  // a, b

  bool take_name(std::string_view name);
  bool take_sign(std::string_view sign);
  bool next_is_sign(std::string_view sign) const;
  bool at_end() const { return peek().kind == Token::Kind::kEnd; }
  std::string name(const char* what);
  void expect_sign(std::string_view sign);
  void expect_end();
  [[noreturn]] void fail(const std::string& expected) const;

 private:
  void tokenize(std::string_view source);
  size_t read_string(std::string_view source, size_t at);
  const Token& peek(size_t ahead = 0) const { return tokens_[std::min(at_ + ahead, tokens_.size() - 1)]; }
  ExpressionPtr make(Expression&& expression) const;
  ExpressionPtr binary(const std::string& name, ExpressionPtr left, ExpressionPtr right) const;
  template <typename Next>
  ExpressionPtr left_associative(std::initializer_list<const char*> signs, Next next);

  ExpressionPtr conjunction();
  ExpressionPtr negation();
  ExpressionPtr comparison();
  ExpressionPtr sum();
  ExpressionPtr concatenation();
  ExpressionPtr product();
  ExpressionPtr unary(bool with_filters = true);
  ExpressionPtr primary();
  ExpressionPtr dict();
  ExpressionPtr postfix(ExpressionPtr inner);
  ExpressionPtr item(ExpressionPtr inner);
  ExpressionPtr filters(ExpressionPtr inner);
  ExpressionPtr test(ExpressionPtr inner);
  std::vector<Argument> arguments();

  std::vector<Token> tokens_;
  size_t at_ = 0;
  const std::string& place_;
  int line_;
  int depth_ = 0;
};

}  // namespace millrace::jinja
