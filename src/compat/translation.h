// Another program's settings in our words: the options that they set here, and for people a table that says what became
// of each.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "config/problems.h"
#include "config/toml_file.h"

namespace millrace {

// A setting of the other program.
struct TheirSetting {
  std::string name;   // "--network_dim", "optimizer.lr"
  std::string value;  // as written; of a flag ""
  std::string place;  // "--network_dim", "X.yaml:12:3"; "" for one of its defaults that was not written anywhere
};

enum class Fate {
  kBecame,      // an option of ours, or several
  kSameResult,  // how the other program runs, not what it computes: nothing is needed here
  kNoEffect,    // has no effect here, or none in either program: also a warning
};

class Translation {
 public:
  // "section.key" gets value; of several calls the last one counts. The setting is listed once, with all that it set.
  void set(const std::string& name, const TomlValue& value, const TheirSetting& from);
  void set(const std::string& name, const std::string& value, const TheirSetting& from);
  void set(const std::string& name, const char* value, const TheirSetting& from) {
    set(name, std::string(value), from);
  }
  void set(const std::string& name, double value, const TheirSetting& from);
  void set(const std::string& name, int64_t value, const TheirSetting& from);
  void set(const std::string& name, bool value, const TheirSetting& from);
  void set(const std::string& name, const std::vector<std::string>& values, const TheirSetting& from);
  // Says what became of a setting that sets no option, or a word beside those that it sets.
  void note(const TheirSetting& from, Fate fate, const std::string& words);
  void refuse(const TheirSetting& from, const std::string& message) { problems_.add(place_of(from), message); }

  bool has(const std::string& name) const { return values_.contains(name); }
  bool mentions(const TheirSetting& from) const;  // it has a row of the table
  // nullptr: it was not set.
  const TomlValue* find(const std::string& name) const;
  Problems& problems() { return problems_; }
  void throw_if_refused() const { problems_.throw_if_any(); }

  // "--section.key=value" of every option, sections and keys in alphabetical order, for load_run_config().
  std::vector<std::string> overrides() const;
  // What became of each setting: those that were written first, then the other program's defaults, in the order of the
  // calls. A line each, or more where a line would be longer than 110 characters.
  std::string table(const std::string& their_program) const;
  // A line for each setting without effect.
  std::vector<std::string> warnings() const;
  // The message of a ConfigError about our options, with the names of the settings that they come from:
  // "[--lora.rank] ..." becomes "[--network_dim, here lora.rank] ...".
  std::string in_their_words(const std::string& message) const;

 private:
  struct Value {
    TomlValue value;
    std::string place;
  };
  struct Row {
    TheirSetting from;
    Fate fate = Fate::kBecame;
    std::vector<std::string> words;
    std::vector<std::string> without_effect;
  };
  static std::string place_of(const TheirSetting& from) { return from.place.empty() ? from.name : from.place; }
  Row& row_of(const TheirSetting& from);

  std::map<std::string, Value> values_;
  std::vector<Row> rows_;
  Problems problems_;
};

}  // namespace millrace
