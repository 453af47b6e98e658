// Values of a template: what Python would hold, as far as chat templates need it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace millrace::jinja {

struct Macro;

class Value {
 public:
  enum class Kind { kUndefined, kNone, kBool, kInt, kFloat, kString, kList, kDict, kMacro };
  using List = std::vector<Value>;
  using Dict = std::vector<std::pair<std::string, Value>>;  // in order of insertion

  Value() = default;
  static Value none();
  static Value of(bool value);
  static Value of(int64_t value);
  static Value of(double value);
  static Value of(std::string value);
  static Value of(const char* value) { return of(std::string(value)); }
  static Value of(List value);
  static Value of(Dict value);
  static Value of(std::shared_ptr<const Macro> macro);
  static Value of(const nlohmann::ordered_json& json);

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_number() const { return is(Kind::kInt) || is(Kind::kFloat) || is(Kind::kBool); }
  int64_t integer() const { return integer_; }  // of kInt and kBool
  double number() const { return is(Kind::kFloat) ? float_ : static_cast<double>(integer_); }
  const std::string& string() const { return *string_; }
  const List& list() const { return *list_; }
  const Dict& dict() const { return *dict_; }
  Dict& shared_dict() { return *dict_; }  // of a namespace: every copy sees the change
  const Macro& macro() const { return *macro_; }

  bool truthy() const;
  const Value* find(const std::string& key) const;  // of a dict; nullptr: none
  std::string text() const;                         // Python's str(); "" for undefined
  std::string repr() const;
  nlohmann::ordered_json json() const;
  const char* type_name() const;

  friend bool operator==(const Value& a, const Value& b);

 private:
  Kind kind_ = Kind::kUndefined;
  int64_t integer_ = 0;
  double float_ = 0;
  std::shared_ptr<const std::string> string_;
  std::shared_ptr<const List> list_;
  std::shared_ptr<Dict> dict_;
  std::shared_ptr<const Macro> macro_;
};

}  // namespace millrace::jinja
