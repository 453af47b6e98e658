#include "base/log.h"
#include "language/jinja/expression_parser.h"
#include "language/jinja/syntax.h"

namespace millrace::jinja {
namespace {

using StatementKind = Statement::Kind;

class TemplateParser {
 public:
  TemplateParser(std::string_view source, const std::string& place)
      : place_(place), segments_(cut_template(source, place)) {}

  Block parse() {
    std::string end;
    Block all = block({}, end);
    return all;
  }

 private:
  // Statements up to one that begins with a word of `ends`, which is left in `end`; its rest is in rest_.
  Block block(std::initializer_list<std::string_view> ends, std::string& end) {
    if (++depth_ > 64) fail_template(place_, line_, "blocks nested less deeply", "more");
    Block all;
    while (next_ < segments_.size()) {
      const Segment& segment = segments_[next_++];
      line_ = segment.line;
      if (segment.kind == Segment::Kind::kText) {
        all.push_back({.kind = StatementKind::kText, .line = line_, .text = segment.text});
      } else if (segment.kind == Segment::Kind::kOutput) {
        ExpressionParser parser(segment.text, place_, line_);
        all.push_back({.kind = StatementKind::kOutput, .line = line_, .expression = parser.expression()});
        parser.expect_end();
      } else {
        ExpressionParser parser(segment.text, place_, line_);
        for (const std::string_view word : ends) {
          if (!parser.take_name(word)) continue;
          end = word;
          rest_ = segment.text;
          --depth_;
          return all;
        }
        all.push_back(statement(parser));
      }
    }
    if (ends.size() > 0) fail_template(place_, line_, str("{% ", *(ends.end() - 1), " %}"), "the end of the template");
    --depth_;
    return all;
  }

  Statement statement(ExpressionParser& parser) {
    const int line = line_;
    if (parser.take_name("if")) return if_statement(parser);
    if (parser.take_name("for")) return for_statement(parser);
    if (parser.take_name("set")) return set_statement(parser);
    if (parser.take_name("macro")) return macro_statement(parser);
    if (parser.take_name("generation")) {
      Statement generation{.kind = StatementKind::kGeneration, .line = line};
      parser.expect_end();
      std::string end;
      generation.body = block({"endgeneration"}, end);
      return generation;
    }
    if (parser.take_name("break")) return {.kind = StatementKind::kBreak, .line = line};
    if (parser.take_name("continue")) return {.kind = StatementKind::kContinue, .line = line};
    parser.fail("if, for, set, macro, generation, break or continue");
  }

  Statement if_statement(ExpressionParser& parser) {
    Statement choice{.kind = StatementKind::kIf, .line = line_, .expression = parser.expression_or_tuple()};
    parser.expect_end();
    std::string end;
    choice.body = block({"elif", "else", "endif"}, end);
    if (end == "elif") {
      ExpressionParser again(rest_, place_, line_);
      again.take_name("elif");
      choice.otherwise.push_back(if_statement(again));
    } else if (end == "else") {
      choice.otherwise = block({"endif"}, end);
    }
    return choice;
  }

  Statement for_statement(ExpressionParser& parser) {
    Statement loop{.kind = StatementKind::kFor, .line = line_, .names = parser.target_names()};
    if (!parser.take_name("in")) parser.fail("\"in\"");
    loop.expression = parser.without_condition();
    if (parser.take_name("if")) loop.filter = parser.expression();
    parser.expect_end();
    std::string end;
    loop.body = block({"else", "endfor"}, end);
    if (end == "else") loop.otherwise = block({"endfor"}, end);
    return loop;
  }

  Statement set_statement(ExpressionParser& parser) {
    Statement set{.kind = StatementKind::kSet, .line = line_, .names = parser.target_names()};
    if (parser.take_sign(".")) set.text = parser.name("an attribute's name");
    if (parser.take_sign("=")) {
      set.expression = parser.expression_or_tuple();
      parser.expect_end();
      return set;
    }
    parser.expect_end();
    set.kind = StatementKind::kSetBlock;
    std::string end;
    set.body = block({"endset"}, end);
    return set;
  }

  Statement macro_statement(ExpressionParser& parser) {
    Statement macro{.kind = StatementKind::kMacro, .line = line_, .text = parser.name("a macro's name")};
    parser.expect_sign("(");
    while (!parser.next_is_sign(")")) {
      macro.names.push_back(parser.name("a parameter"));
      macro.defaults.push_back(parser.take_sign("=") ? parser.expression() : nullptr);
      if (!parser.take_sign(",")) break;
    }
    parser.expect_sign(")");
    parser.expect_end();
    std::string end;
    macro.body = block({"endmacro"}, end);
    return macro;
  }

  const std::string& place_;
  std::vector<Segment> segments_;
  size_t next_ = 0;
  int line_ = 1, depth_ = 0;
  std::string rest_;
};

}  // namespace

Block parse_template(std::string_view source, const std::string& place) {
  return TemplateParser(source, place).parse();
}

}  // namespace millrace::jinja
