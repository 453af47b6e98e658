// The tree of a template, and the two steps that make it of text.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "language/jinja/value.h"

namespace millrace::jinja {

struct Expression;
using ExpressionPtr = std::shared_ptr<const Expression>;

struct Argument {
  std::string name;  // "": by position
  ExpressionPtr value;
};

struct Expression {
  enum class Kind {
    kLiteral,      // value
    kName,         // name
    kList,         // parts
    kDict,         // parts: key, value, key, value, ...
    kAttribute,    // parts[0].name
    kItem,         // parts[0][parts[1]]
    kSlice,        // parts[0][parts[1]:parts[2]:parts[3]], each of which may be missing
    kCall,         // parts[0](arguments)
    kMethod,       // parts[0].name(arguments)
    kFilter,       // parts[0] | name(arguments)
    kTest,         // parts[0] is name(arguments)
    kUnary,        // name: not, -, +
    kBinary,       // name: + - * / // % ~ == != < <= > >= in, not in, and, or
    kConditional,  // parts[0] if parts[1] else parts[2], which may be missing
  };
  Kind kind;
  int line = 0;
  std::string name;
  Value value;
  std::vector<ExpressionPtr> parts;
  std::vector<Argument> arguments;
};

struct Statement;
using Block = std::vector<Statement>;

struct Statement {
  enum class Kind { kText, kOutput, kIf, kFor, kSet, kSetBlock, kMacro, kGeneration, kBreak, kContinue };
  Kind kind;
  int line = 0;
  std::string text;                     // kText; kMacro: its name; kSet with attribute: of a namespace
  std::vector<std::string> names;       // targets of kFor and kSet, parameters of kMacro
  ExpressionPtr expression;             // kOutput, kSet, kIf, kFor: what is gone through
  ExpressionPtr filter;                 // kFor: if ...
  std::vector<ExpressionPtr> defaults;  // kMacro: of the parameters, null where there is none
  Block body, otherwise;                // otherwise: elif and else
};

struct Macro {
  std::string name;
  std::vector<std::string> parameters;
  std::vector<ExpressionPtr> defaults;
  const Block* body;
};

// What stands between the delimiters, and the text around it with white space already taken off (trim_blocks and
// lstrip_blocks on, as transformers has them).
struct Segment {
  enum class Kind { kText, kOutput, kStatement };
  Kind kind;
  int line;
  std::string text;
};
// Throw ModelError naming place and line.
std::vector<Segment> cut_template(std::string_view source, const std::string& place);
Block parse_template(std::string_view source, const std::string& place);

[[noreturn]] void fail_template(const std::string& place, int line, const std::string& expected,
                                const std::string& got);

// The filters, tests and methods that are known.
bool is_known_filter(const std::string& name);
bool is_known_test(const std::string& name);
bool is_known_method(const std::string& name);

}  // namespace millrace::jinja
