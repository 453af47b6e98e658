#include "config/option.h"

#include <algorithm>

namespace millrace {
bool Option::is_flag() const {
  return std::holds_alternative<bool*>(member) || std::holds_alternative<std::optional<bool>*>(member);
}

bool Option::is_list() const {
  return std::holds_alternative<std::vector<std::string>*>(member) ||
         std::holds_alternative<std::vector<int64_t>*>(member);
}

bool Option::is_text() const {
  return std::holds_alternative<std::string*>(member) || std::holds_alternative<ChoicePointer>(member);
}

bool Option::accepts_none() const {
  return info.none_is_empty ||
         std::visit([](auto pointer) { return IsOptional<std::remove_pointer_t<decltype(pointer)>>::value; }, member);
}

void OptionCollector::open(const char* name, const char* meaning) {
  const auto found = std::find_if(sections_.begin(), sections_.end(),
                                  [&](const OptionSection& section) { return section.name == name; });
  current_ = static_cast<size_t>(found - sections_.begin());
  if (found == sections_.end()) sections_.push_back({name, meaning, {}});
}

void OptionCollector::add(OptionInfo info, OptionPointer member) {
  OptionSection& section = sections_[current_];
  section.options.push_back({section.name, std::move(info), member});
}

}  // namespace millrace
