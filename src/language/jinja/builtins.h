// What templates may call: filters, tests, and methods of text and dicts. All of them only compute values.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "language/jinja/value.h"

namespace millrace::jinja {

// Arguments of a call, evaluated.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;

  // By position or by name; nullptr: not given.
  const Value* find(size_t position, const char* name) const;
};

// Throws what the caller's place goes in front of.
struct EvaluationError {
  std::string expected, got;
};

// Throw EvaluationError for values that they do not take.
Value apply_filter(const std::string& name, const Value& value, const Arguments& arguments);
bool apply_test(const std::string& name, const Value& value, const Arguments& arguments);
Value call_method(const std::string& name, const Value& object, const Arguments& arguments);

bool contains(const Value& container, const Value& item);
bool less(const Value& a, const Value& b);
int64_t length_of(const Value& value);
Value item_of(const Value& object, const Value& index);  // undefined where there is none
std::vector<Value> items_of(const Value& value);         // what a loop goes through
Value slice_of(const Value& value, const Value& from, const Value& to, const Value& step);

}  // namespace millrace::jinja
