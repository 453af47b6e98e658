// sd-scripts' command line for flux_train_network.py, and its files of options, read.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "picture_sets/dataset_arguments.h"

namespace millrace {

struct KohyaValue {
  std::vector<std::string> words;  // of a flag none
  std::string place;               // "--seed", or "config.toml:3"
};

class KohyaArguments {
 public:
  bool has(const std::string& name) const { return given_.count(name) != 0; }
  // As given, else the default; nullopt: neither. The option must be of that type.
  std::optional<std::string> text(const std::string& name) const;
  std::optional<int64_t> integer(const std::string& name) const;
  std::optional<double> number(const std::string& name) const;
  std::vector<std::string> texts(const std::string& name) const;

  const std::map<std::string, KohyaValue>& given() const { return given_; }
  // Keys of the file that the kohya_ss GUI alone writes: sd-scripts passes over them.
  const std::map<std::string, KohyaValue>& gui_keys() const { return gui_keys_; }
  // The options of data sets among them.
  DatasetArguments dataset() const;

 private:
  friend KohyaArguments parse_kohya_arguments(const std::vector<std::string>& words);
  std::map<std::string, KohyaValue> given_, gui_keys_;
};

inline constexpr const char* kOfGui = "it belongs to the kohya_ss GUI, and sd-scripts passes over it";

// `--name VALUE`, `--name=VALUE`, unambiguous beginnings of names as argparse takes them, and --config_file, a TOML
// file whose sections do not matter and which the command line overrides. Throws ConfigError that lists every unknown
// option with the nearest known one, every value of a wrong type, and every option that would change the result but
// cannot be had here.
KohyaArguments parse_kohya_arguments(const std::vector<std::string>& words);

// What is given but changes nothing in FLUX training, a line each: "[--noise_offset] ...".
std::vector<std::string> kohya_warnings(const KohyaArguments& arguments);

}  // namespace millrace
