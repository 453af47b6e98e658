#include "language/jinja/render.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/log.h"
#include "language/jinja/builtins.h"
#include "language/jinja/fixed_date.h"

namespace millrace::jinja {
namespace {

using ValueKind = Value::Kind;

constexpr int64_t kMaxSteps = 1'000'000;
constexpr size_t kMaxOutput = size_t{64} << 20;
constexpr int kMaxCallDepth = 48;
constexpr int64_t kMaxRange = 10'000;

enum class Flow { kNext, kBreak, kContinue };
using Frame = std::vector<std::pair<std::string, Value>>;

class Interpreter {
 public:
  Interpreter(const Value::Dict& variables, const std::string& place) : place_(place) { frames_.push_back(variables); }

  Rendered run(const Block& block) {
    execute(block);
    return std::move(rendered_);
  }

 private:
  [[noreturn]] void fail(int line, const std::string& expected, const std::string& got) const {
    throw DataError(
        str("[", place_, "] expected ", expected, ", got ", got, " (line ", line, " of the chat template)"));
  }

  // What computes values knows no place: its faults get one here.
  template <typename Action>
  auto at_line(int line, Action action) const {
    try {
      return action();
    } catch (const EvaluationError& error) {
      fail(line, error.expected, error.got);
    }
  }

  void count_step(int line) {
    if (++steps_ > kMaxSteps) fail(line, str("a template of at most ", kMaxSteps, " steps"), "more");
  }
  void write(const std::string& text, int line) {
    rendered_.text += text;
    if (rendered_.text.size() > kMaxOutput) fail(line, str("at most ", kMaxOutput >> 20, " MiB of text"), "more");
  }

  const Value* look_up(const std::string& name) const {
    for (auto frame = frames_.rbegin(); frame != frames_.rend(); ++frame) {
      for (const auto& [key, value] : *frame) {
        if (key == name) return &value;
      }
    }
    return nullptr;
  }
  void assign(const std::string& name, Value value) {
    for (auto& [key, known] : frames_.back()) {
      if (key == name) {
        known = std::move(value);
        return;
      }
    }
    frames_.back().emplace_back(name, std::move(value));
  }
  void assign_all(const std::vector<std::string>& names, const Value& value, int line) {
    if (names.size() == 1) return assign(names[0], value);
    if (!value.is(ValueKind::kList) || value.list().size() != names.size()) {
      fail(line, str("a list of ", names.size(), " values to take apart"), value.type_name());
    }
    for (size_t i = 0; i < names.size(); ++i) assign(names[i], value.list()[i]);
  }

  // Statements.

  Flow execute(const Block& block) {
    for (const Statement& statement : block) {
      count_step(statement.line);
      const Flow flow = execute(statement);
      if (flow != Flow::kNext) return flow;
    }
    return Flow::kNext;
  }

  Flow execute(const Statement& statement) {
    switch (statement.kind) {
      case Statement::Kind::kText:
        write(statement.text, statement.line);
        return Flow::kNext;
      case Statement::Kind::kOutput:
        write(evaluate(*statement.expression).text(), statement.line);
        return Flow::kNext;
      case Statement::Kind::kIf:
        return execute(evaluate(*statement.expression).truthy() ? statement.body : statement.otherwise);
      case Statement::Kind::kFor:
        return execute_loop(statement);
      case Statement::Kind::kSet:
        execute_set(statement);
        return Flow::kNext;
      case Statement::Kind::kSetBlock:
        assign(statement.names[0], Value::of(captured(statement.body)));
        return Flow::kNext;
      case Statement::Kind::kMacro:
        assign(statement.text, Value::of(std::make_shared<const Macro>(
                                   Macro{statement.text, statement.names, statement.defaults, &statement.body})));
        return Flow::kNext;
      case Statement::Kind::kGeneration: {
        const size_t begin = rendered_.text.size();
        const Flow flow = execute(statement.body);
        rendered_.generated.emplace_back(begin, rendered_.text.size());
        return flow;
      }
      case Statement::Kind::kBreak:
        return Flow::kBreak;
      case Statement::Kind::kContinue:
        return Flow::kContinue;
    }
    return Flow::kNext;
  }

  std::string captured(const Block& body) {
    std::string outer = std::move(rendered_.text);
    rendered_.text.clear();
    execute(body);
    std::string inner = std::move(rendered_.text);
    rendered_.text = std::move(outer);
    return inner;
  }

  void execute_set(const Statement& statement) {
    Value value = evaluate(*statement.expression);
    if (statement.text.empty()) return assign_all(statement.names, value, statement.line);
    const Value* target = look_up(statement.names[0]);
    if (target == nullptr || !target->is(ValueKind::kDict) || !is_namespace(*target)) {
      fail(statement.line, str("a namespace to set ", statement.text, " of"), statement.names[0]);
    }
    Value shared = *target;
    auto& dict = shared.shared_dict();
    const auto known =
        std::find_if(dict.begin(), dict.end(), [&](const auto& entry) { return entry.first == statement.text; });
    if (known != dict.end()) {
      known->second = std::move(value);
    } else {
      dict.emplace_back(statement.text, std::move(value));
    }
  }

  bool is_namespace(const Value& value) const {
    return std::find(namespaces_.begin(), namespaces_.end(), &value.dict()) != namespaces_.end();
  }

  Flow execute_loop(const Statement& loop) {
    std::vector<Value> items = at_line(loop.line, [&] { return items_of(evaluate(*loop.expression)); });
    if (loop.filter != nullptr) {
      std::vector<Value> kept;
      for (const Value& item : items) {
        frames_.emplace_back();
        assign_all(loop.names, item, loop.line);
        if (evaluate(*loop.filter).truthy()) kept.push_back(item);
        frames_.pop_back();
      }
      items = std::move(kept);
    }
    if (items.empty()) return execute(loop.otherwise);
    const auto size = static_cast<int64_t>(items.size());
    for (int64_t i = 0; i < size; ++i) {
      count_step(loop.line);
      frames_.emplace_back();
      const auto item = [&](int64_t k) { return k >= 0 && k < size ? items[static_cast<size_t>(k)] : Value(); };
      assign_all(loop.names, item(i), loop.line);
      assign("loop", Value::of(Value::Dict{{"index", Value::of(i + 1)},
                                           {"index0", Value::of(i)},
                                           {"revindex", Value::of(size - i)},
                                           {"revindex0", Value::of(size - i - 1)},
                                           {"first", Value::of(i == 0)},
                                           {"last", Value::of(i + 1 == size)},
                                           {"length", Value::of(size)},
                                           {"previtem", item(i - 1)},
                                           {"nextitem", item(i + 1)}}));
      const Flow flow = execute(loop.body);
      frames_.pop_back();
      if (flow == Flow::kBreak) break;
    }
    return Flow::kNext;
  }

  // Expressions.

  Value evaluate(const Expression& expression) {
    count_step(expression.line);
    const auto part = [&](size_t i) { return evaluate(*expression.parts[i]); };
    const auto optional_part = [&](size_t i) { return expression.parts[i] != nullptr ? part(i) : Value(); };
    switch (expression.kind) {
      case Expression::Kind::kLiteral:
        return expression.value;
      case Expression::Kind::kName: {
        const Value* found = look_up(expression.name);
        return found != nullptr ? *found : Value();
      }
      case Expression::Kind::kList: {
        Value::List list;
        for (const auto& item : expression.parts) list.push_back(evaluate(*item));
        return Value::of(std::move(list));
      }
      case Expression::Kind::kDict: {
        Value::Dict dict;
        for (size_t i = 0; i + 1 < expression.parts.size(); i += 2) dict.emplace_back(part(i).text(), part(i + 1));
        return Value::of(std::move(dict));
      }
      case Expression::Kind::kAttribute: {
        const Value object = part(0);
        return at_line(expression.line, [&] { return item_of(object, Value::of(expression.name)); });
      }
      case Expression::Kind::kItem: {
        const Value object = part(0), index = part(1);
        return at_line(expression.line, [&] { return item_of(object, index); });
      }
      case Expression::Kind::kSlice: {
        const Value object = part(0), from = optional_part(1), to = optional_part(2), step = optional_part(3);
        return at_line(expression.line, [&] { return slice_of(object, from, to, step); });
      }
      case Expression::Kind::kCall:
        return call(expression);
      case Expression::Kind::kMethod: {
        const Value object = part(0);
        const Arguments arguments = arguments_of(expression);
        return at_line(expression.line, [&] { return call_method(expression.name, object, arguments); });
      }
      case Expression::Kind::kFilter: {
        const Value value = part(0);
        const Arguments arguments = arguments_of(expression);
        return at_line(expression.line, [&] { return apply_filter(expression.name, value, arguments); });
      }
      case Expression::Kind::kTest: {
        const Value value = part(0);
        const Arguments arguments = arguments_of(expression);
        return at_line(expression.line, [&] { return Value::of(apply_test(expression.name, value, arguments)); });
      }
      case Expression::Kind::kUnary: {
        const Value value = part(0);
        if (expression.name == "not") return Value::of(!value.truthy());
        if (!value.is_number()) fail(expression.line, "a number", value.type_name());
        const int sign = expression.name == "-" ? -1 : 1;
        return value.is(ValueKind::kFloat) ? Value::of(sign * value.number()) : Value::of(sign * value.integer());
      }
      case Expression::Kind::kBinary:
        return binary(expression);
      case Expression::Kind::kConditional:
        return part(1).truthy() ? part(0) : optional_part(2);
    }
    return {};
  }

  Value binary(const Expression& expression) {
    const std::string& sign = expression.name;
    const Value a = evaluate(*expression.parts[0]);
    if (sign == "and" || sign == "or") {
      return a.truthy() == (sign == "and") ? evaluate(*expression.parts[1]) : a;
    }
    const Value b = evaluate(*expression.parts[1]);
    if (sign == "==") return Value::of(a == b);
    if (sign == "!=") return Value::of(!(a == b));
    if (sign == "~") return Value::of(a.text() + b.text());
    return at_line(expression.line, [&] {
      if (sign == "in") return Value::of(contains(b, a));
      if (sign == "not in") return Value::of(!contains(b, a));
      if (sign == "<") return Value::of(less(a, b));
      if (sign == ">") return Value::of(less(b, a));
      if (sign == "<=") return Value::of(!less(b, a));
      if (sign == ">=") return Value::of(!less(a, b));
      return arithmetic(sign, a, b);
    });
  }

  static Value arithmetic(const std::string& sign, const Value& a, const Value& b) {
    if (sign == "+" && a.is(ValueKind::kString) && b.is(ValueKind::kString)) return Value::of(a.string() + b.string());
    if (sign == "+" && a.is(ValueKind::kList) && b.is(ValueKind::kList)) {
      Value::List joined = a.list();
      joined.insert(joined.end(), b.list().begin(), b.list().end());
      return Value::of(std::move(joined));
    }
    if (!a.is_number() || !b.is_number()) {
      throw EvaluationError{str("numbers, or two texts or lists to add, around ", sign),
                            str(a.type_name(), " and ", b.type_name())};
    }
    const bool divides = sign == "/" || sign == "//" || sign == "%";
    if (divides && b.number() == 0) throw EvaluationError{"a divisor other than 0", "0"};
    if (sign == "/") return Value::of(a.number() / b.number());
    if (a.is(ValueKind::kFloat) || b.is(ValueKind::kFloat)) {
      const double x = a.number(), y = b.number();
      return Value::of(sign == "+"    ? x + y
                       : sign == "-"  ? x - y
                       : sign == "*"  ? x * y
                       : sign == "//" ? std::floor(x / y)
                                      : x - y * std::floor(x / y));
    }
    const int64_t x = a.integer(), y = b.integer();
    int64_t result = 0;
    const bool overflow = sign == "+"   ? __builtin_add_overflow(x, y, &result)
                          : sign == "-" ? __builtin_sub_overflow(x, y, &result)
                          : sign == "*" ? __builtin_mul_overflow(x, y, &result)
                                        : x == INT64_MIN;
    if (overflow) throw EvaluationError{"numbers of at most 64 bits", "larger ones"};
    if (!divides) return Value::of(result);
    const int64_t remainder = x % y, floor_step = remainder != 0 && (remainder < 0) != (y < 0) ? 1 : 0;
    return Value::of(sign == "//" ? x / y - floor_step : remainder + floor_step * y);
  }

  Arguments arguments_of(const Expression& expression) {
    Arguments arguments;
    for (const Argument& argument : expression.arguments) {
      if (argument.name.empty()) {
        arguments.positional.push_back(evaluate(*argument.value));
      } else {
        arguments.named.emplace_back(argument.name, evaluate(*argument.value));
      }
    }
    return arguments;
  }

  Value call(const Expression& expression) {
    const Expression& target = *expression.parts[0];
    const Arguments arguments = arguments_of(expression);
    const Value function = evaluate(target);
    if (function.is(ValueKind::kMacro)) return call_macro(function.macro(), arguments, expression.line);
    if (target.kind != Expression::Kind::kName || !function.is(ValueKind::kUndefined)) {
      fail(expression.line, "a macro or a function to call", function.type_name());
    }
    if (target.name == "raise_exception") {
      const Value* message = arguments.find(0, "message");
      throw DataError(str("[", place_, "] expected messages that the chat template takes, got: ",
                          message != nullptr ? message->text() : "an exception"));
    }
    if (target.name == "namespace" || target.name == "dict") {
      Value::Dict dict(arguments.named.begin(), arguments.named.end());
      Value value = Value::of(std::move(dict));
      if (target.name == "namespace") {
        namespaces_.push_back(&value.dict());
        keep_alive_.push_back(value);
      }
      return value;
    }
    if (target.name == "range") return range(arguments, expression.line);
    if (target.name == "strftime_now") {
      const Value* format = arguments.find(0, "format");
      if (format == nullptr || !format->is(ValueKind::kString))
        fail(expression.line, "a format for strftime_now()", "none");
      return at_line(expression.line, [&] { return Value::of(fixed_date(format->string())); });
    }
    fail(expression.line, "one of the functions raise_exception, namespace, dict, range and strftime_now", target.name);
  }

  Value range(const Arguments& arguments, int line) const {
    std::vector<int64_t> numbers;
    for (const Value& value : arguments.positional) {
      if (!value.is(ValueKind::kInt)) fail(line, "whole numbers for range()", value.type_name());
      numbers.push_back(value.integer());
    }
    if (numbers.empty() || numbers.size() > 3)
      fail(line, "one to three numbers for range()", std::to_string(numbers.size()));
    const int64_t begin = numbers.size() == 1 ? 0 : numbers[0], end = numbers.size() == 1 ? numbers[0] : numbers[1];
    const int64_t step = numbers.size() == 3 ? numbers[2] : 1;
    if (step == 0) fail(line, "a step other than 0", "0");
    Value::List list;
    for (int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
      if (static_cast<int64_t>(list.size()) == kMaxRange) fail(line, str("a range of at most ", kMaxRange), "more");
      list.push_back(Value::of(i));
    }
    return Value::of(std::move(list));
  }

  // A macro sees the template's own variables and its parameters.
  Value call_macro(const Macro& macro, const Arguments& arguments, int line) {
    if (++depth_ > kMaxCallDepth)
      fail(line, str("macros that call each other at most ", kMaxCallDepth, " deep"), "more");
    Frame parameters;
    for (size_t i = 0; i < macro.parameters.size(); ++i) {
      const Value* given = arguments.find(i, macro.parameters[i].c_str());
      parameters.emplace_back(macro.parameters[i], given != nullptr               ? *given
                                                   : macro.defaults[i] != nullptr ? evaluate(*macro.defaults[i])
                                                                                  : Value());
    }
    std::vector<Frame> outer = std::move(frames_);
    frames_.clear();
    frames_.push_back(outer.front());
    frames_.push_back(std::move(parameters));
    std::string text = captured(*macro.body);
    frames_ = std::move(outer);
    --depth_;
    return Value::of(std::move(text));
  }

  std::string place_;
  std::vector<Frame> frames_;
  std::vector<const Value::Dict*> namespaces_;
  std::vector<Value> keep_alive_;  // so that an address in namespaces_ is never another dict's
  Rendered rendered_;
  int64_t steps_ = 0;
  int depth_ = 0;
};

}  // namespace

Rendered render(const Block& block, const Value::Dict& variables, const std::string& place) {
  return Interpreter(variables, place).run(block);
}

bool has_generation(const Block& block) {
  return std::any_of(block.begin(), block.end(), [](const Statement& statement) {
    return statement.kind == Statement::Kind::kGeneration || has_generation(statement.body) ||
           has_generation(statement.otherwise);
  });
}

}  // namespace millrace::jinja
