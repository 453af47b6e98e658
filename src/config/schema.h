// Resolves the name of an option as written, or suggests the name that was probably meant.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/foreign_options.h"
#include "config/option_table.h"

namespace millrace {

// What "section.key" names: one of our options (possibly by an alias), or one of torchtitan's without effect here.
struct OptionTarget {
  const Option* option = nullptr;
  const ForeignOption* foreign = nullptr;
  std::string name;      // the canonical "section.key"
  bool negated = false;  // "section.no_key" of a flag

  bool is_known() const { return option != nullptr || foreign != nullptr; }
  bool is_flag() const;
  // Needs no value on a command line: flags, and torchtitan's options whose name and type we do not know.
  bool may_stand_alone() const;
};

class Schema {
 public:
  explicit Schema(RunConfig& config);
  Schema(const Schema&) = delete;  // targets point into it
  Schema& operator=(const Schema&) = delete;

  const std::vector<OptionSection>& sections() const { return sections_; }
  const std::vector<ForeignOption>& foreign_options() const { return foreign_options_; }
  // Accepts "-" for "_". "no_key" is understood when allow_negation is set, for command lines.
  OptionTarget find(std::string_view name, bool allow_negation = false) const;
  bool has_section(std::string_view section) const;

  // The known options nearest to name, with " or " between several and prefix before each; "" when there is
  // none.
  std::string suggest_option(std::string_view name, const std::string& prefix = "") const;
  std::string suggest_section(std::string_view section) const;

 private:
  std::vector<OptionSection> sections_;
  std::vector<ForeignOption> foreign_options_;
  std::vector<std::string> section_names_;  // ours and torchtitan's
  std::vector<std::string> full_names_;     // every accepted spelling
};

// The two parts of a name: "section", "key" (which may hold further dots). key is empty when there is no dot.
struct SplitName {
  std::string section, key;
};
SplitName split_name(std::string_view name);
std::string with_underscores(std::string_view name);

}  // namespace millrace
