// Describes one option besides its C++ member: everything that parsing, checking, --help, printing and the
// documentation need. The structs of a configuration describe themselves with it, once.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "config/steps_or_part.h"

namespace millrace {

template <typename T>
struct IsOptional : std::false_type {};
template <typename T>
struct IsOptional<std::optional<T>> : std::true_type {};

struct OptionInfo {
  const char* name;       // the key in its section, with underscores
  const char* unit = "";  // "steps", "seconds", "pixels", ...; "" for a pure number or a text
  const char* meaning = "";
  std::vector<const char*> choices = {};  // texts only: the values allowed; empty allows all. An enum's are its own
  // Numbers only (each item of a list); a bound does not apply to None.
  double at_least = -std::numeric_limits<double>::infinity();
  double at_most = std::numeric_limits<double>::infinity();
  double above = -std::numeric_limits<double>::infinity();
  double below = std::numeric_limits<double>::infinity();
  bool none_is_empty = false;             // texts only: None means ""
  std::vector<const char*> aliases = {};  // other accepted spellings, as "section.key"
  const char* torchtitan_default = "";    // documented where ours differs
};

// One value of an enum as it is written in a file. An enum can be an option's member when choices_of(E) is declared
// beside it: constexpr std::array<Choice<E>, N> choices_of(E).
template <typename E>
struct Choice {
  const char* text;
  E value;
};

// An enum member, whatever its type: the index of its value in choices_of().
struct ChoicePointer {
  void* member;
  size_t (*get)(const void* member);
  void (*set)(void* member, size_t index);
};

template <typename E>
ChoicePointer choice_pointer(E& member) {
  return {&member,
          [](const void* at) {
            const auto choices = choices_of(E{});
            size_t index = 0;
            while (index + 1 < choices.size() && choices[index].value != *static_cast<const E*>(at)) ++index;
            return index;
          },
          [](void* at, size_t index) { *static_cast<E*>(at) = choices_of(E{})[index].value; }};
}

// The text that stands for the value in a file.
template <typename E>
const char* choice_text(E value) {
  return choices_of(E{})[choice_pointer(value).get(&value)].text;
}

using OptionPointer = std::variant<bool*, int64_t*, double*, std::string*, std::vector<std::string>*,
                                   std::vector<int64_t>*, std::optional<bool>*, std::optional<int64_t>*,
                                   std::optional<double>*, std::optional<StepsOrPart>*, ChoicePointer>;

struct Option {
  std::string section;
  OptionInfo info;
  OptionPointer member;

  std::string full_name() const { return section + "." + info.name; }
  bool is_flag() const;
  bool is_list() const;
  bool is_text() const;  // an enum is written as a text, too
  bool accepts_none() const;
};

struct OptionSection {
  std::string name, meaning;
  std::vector<Option> options;
};

// Collects the options from describe(). Structs may share a section: the second adds its options to the first's.
class OptionCollector {
 public:
  template <typename Section>
  void section(const char* name, const char* meaning, Section& members) {
    open(name, meaning);
    members.describe(*this);
  }
  template <typename Member>
  void operator()(Member& member, OptionInfo info) {
    if constexpr (std::is_enum_v<Member>) {
      for (const auto& choice : choices_of(Member{})) info.choices.push_back(choice.text);
      add(std::move(info), choice_pointer(member));
    } else {
      add(std::move(info), &member);
    }
  }
  std::vector<OptionSection> take() { return std::move(sections_); }

 private:
  void open(const char* name, const char* meaning);
  void add(OptionInfo info, OptionPointer member);

  std::vector<OptionSection> sections_;
  size_t current_ = 0;
};

}  // namespace millrace
