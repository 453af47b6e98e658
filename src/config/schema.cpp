#include "config/schema.h"

#include <algorithm>

#include "base/text.h"

namespace millrace {

bool OptionTarget::is_flag() const {
  if (option != nullptr) return option->is_flag();
  return foreign != nullptr && foreign->type == ForeignOption::Type::kFlag;
}

bool OptionTarget::may_stand_alone() const {
  return is_flag() || (foreign != nullptr && foreign->type == ForeignOption::Type::kAny);
}

SplitName split_name(std::string_view name) {
  const size_t dot = name.find('.');
  if (dot == std::string_view::npos) return {std::string(name), ""};
  return {std::string(name.substr(0, dot)), std::string(name.substr(dot + 1))};
}

std::string with_underscores(std::string_view name) {
  std::string plain(name);
  std::replace(plain.begin(), plain.end(), '-', '_');
  return plain;
}

Schema::Schema(RunConfig& config) : sections_(option_sections(config)), foreign_options_(config.foreign_options()) {
  auto add_section = [&](const std::string& name) {
    if (!has_section(name)) section_names_.push_back(name);
  };
  for (const OptionSection& section : sections_) add_section(section.name);
  for (const OptionSection& section : sections_) {
    for (const Option& option : section.options) {
      full_names_.push_back(option.full_name());
      for (const char* alias : option.info.aliases) {
        full_names_.push_back(alias);
        add_section(split_name(alias).section);
      }
    }
  }
  for (const ForeignOption& option : foreign_options_) {
    if (!ends_with(option.name, "*")) full_names_.push_back(option.name);
    add_section(split_name(option.name).section);
  }
}

bool Schema::has_section(std::string_view section) const {
  return std::find(section_names_.begin(), section_names_.end(), section) != section_names_.end();
}

OptionTarget Schema::find(std::string_view written_name, bool allow_negation) const {
  const std::string name = with_underscores(written_name);
  for (const OptionSection& section : sections_) {
    for (const Option& option : section.options) {
      if (name == option.full_name()) return {.option = &option, .name = name};
      for (const char* alias : option.info.aliases) {
        if (name == alias) return {.option = &option, .name = option.full_name()};
      }
    }
  }
  if (const ForeignOption* foreign = find_foreign_option(foreign_options_, name))
    return {.foreign = foreign, .name = name};
  const size_t key_begin = name.rfind('.') + 1;
  if (allow_negation && key_begin != 0 && name.compare(key_begin, 3, "no_") == 0) {
    OptionTarget target = find(name.substr(0, key_begin) + name.substr(key_begin + 3));
    target.negated = true;
    if (target.is_flag()) return target;
  }
  return {};
}

std::string Schema::suggest_option(std::string_view written_name, const std::string& prefix) const {
  const std::string name = with_underscores(written_name);
  const auto [section, key] = split_name(name);
  std::vector<std::string> same_key, same_section;
  for (const std::string& candidate : full_names_) {
    const SplitName parts = split_name(candidate);
    if (parts.key == key) same_key.push_back(prefix + candidate);
    if (parts.section == section) same_section.push_back(candidate);
  }
  // First a typo in the right section, then the right key in another section.
  const std::string sibling = nearest(name, same_section);
  if (!sibling.empty() && edit_distance(name, sibling) <= 2) return prefix + sibling;
  if (!same_key.empty()) return join(same_key, " or ");
  // The shared section must not make unrelated keys look similar.
  if (!sibling.empty() && edit_distance(name, sibling) <= static_cast<int>(key.size() + 1) / 2) return prefix + sibling;
  const std::string closest = has_section(section) ? "" : nearest(name, full_names_);
  return closest.empty() ? "" : prefix + closest;
}

std::string Schema::suggest_section(std::string_view section) const {
  return nearest(with_underscores(section), section_names_);
}

}  // namespace millrace
