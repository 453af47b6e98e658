// A YAML file of torchtune as its recipes see it: with overrides applied and interpolations resolved, and with a record
// of which keys were read.
#pragma once

#include <filesystem>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "compat/interpolation.h"
#include "compat/translation.h"
#include "config/placed_value.h"

namespace millrace {

struct TuneFile {
  std::string name;                 // for messages
  PlacedValue root;                 // a table
  std::set<std::string> variables;  // top-level keys that an interpolation uses, in the file or in an override
};

// overrides: key=value and ~key words. Throws ConfigError with file and line, or the override's key.
TuneFile parse_tune_file(const std::string& content, const std::string& name, const std::vector<std::string>& overrides,
                         const EnvironmentLookup& environment);

// One table of a file while it is translated: remembers which keys were asked for.
class TuneTable {
 public:
  // table: nullptr for one that is not there, whose keys are all absent. path: "" for the root, else "dataset".
  TuneTable(const PlacedValue* table, std::string path, const TuneFile& file, Translation& out);

  bool has(const std::string& key) const;  // also where it is null
  // As given; nullopt where the key is absent or null. A value of another type is refused.
  std::optional<std::string> text(const std::string& key);
  std::optional<int64_t> integer(const std::string& key);
  std::optional<double> number(const std::string& key);
  std::optional<bool> flag(const std::string& key);
  std::optional<std::vector<std::string>> texts(const std::string& key);  // one text is a list of one
  const PlacedValue* value(const std::string& key);                       // nullptr: absent or null
  TuneTable table(const std::string& key);                                // refused when it is something else
  std::string component() { return text("_component_").value_or(""); }

  // The setting for Translation. fallback: what torchtune has where the key is absent.
  TheirSetting from(const std::string& key, const std::string& fallback = "") const;
  void refuse(const std::string& key, const std::string& message) { out_.refuse(from(key), message); }
  // What becomes of a key that sets nothing, if it is given.
  void note(const std::string& key, Fate fate, const std::string& words);
  // True is refused, with the reason.
  void refuse_if_true(const std::string& key, const std::string& message);

  // Refuses every key that was never asked for, naming the nearest that was.
  void refuse_unknown() const;
  std::vector<std::string> unknown() const;
  const std::set<std::string>& asked() const { return asked_; }
  const std::string& path() const { return path_; }

 private:
  const PlacedValue* find(const std::string& key);
  void wrong_type(const std::string& key, const char* expected, const PlacedValue& got);

  const PlacedValue* table_;
  std::string path_;
  const TuneFile& file_;
  Translation& out_;
  std::set<std::string> asked_;
};

}  // namespace millrace
