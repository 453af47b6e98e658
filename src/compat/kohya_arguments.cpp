#include "compat/kohya_arguments.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "compat/kohya_options.h"
#include "config/number_text.h"
#include "config/placed_value.h"
#include "config/problems.h"
#include "picture_sets/read_document.h"

namespace millrace {
namespace {

using Given = std::map<std::string, KohyaValue>;

// The option that name, or the only one that begins with it; otherwise a problem.
const KohyaOption* option_named(const std::string& name, const std::string& place, Problems& problems) {
  if (const KohyaOption* exact = find_kohya_option(name)) return exact;
  std::vector<std::string> known, longer;
  for (const KohyaOption& option : kohya_options()) {
    known.emplace_back(option.name);
    if (starts_with(option.name, name)) longer.emplace_back(option.name);
  }
  if (longer.size() == 1) return find_kohya_option(longer[0]);
  const std::string near = nearest(name, known);
  const std::string hint = !longer.empty() ? " (try one of --" + join(longer, ", --") + ")"
                           : near.empty()  ? ""
                                           : " (try --" + near + ")";
  problems.add(place, "expected an option of flux_train_network, got " + name + hint);
  return nullptr;
}

void check_type(const KohyaOption& option, const KohyaValue& value, Problems& problems) {
  for (const std::string& word : value.words) {
    if (option.type == KohyaType::kInteger && !parse_integer(word)) {
      problems.add(value.place,
                   std::string("expected a whole number for ") + option.name + ", got \"" + json_escape(word) + "\"");
    }
    if (option.type == KohyaType::kNumber && !parse_floating_point(word)) {
      problems.add(value.place,
                   std::string("expected a number for ") + option.name + ", got \"" + json_escape(word) + "\"");
    }
  }
}

void read_words(const std::vector<std::string>& words, Given& given, Problems& problems) {
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (!starts_with(word, "--") || word.size() < 3) {
      problems.add(word, "expected an option that begins with --, got another word");
      continue;
    }
    const size_t equals = word.find('=');
    const std::string shown = word.substr(0, equals);
    const KohyaOption* option = option_named(shown.substr(2), shown, problems);
    if (option == nullptr) {  // its value, if it has one, is no problem of its own
      while (i + 1 < words.size() && !starts_with(words[i + 1], "--")) ++i;
      continue;
    }
    KohyaValue value{.words = {}, .place = shown};
    if (equals != std::string::npos) value.words.push_back(word.substr(equals + 1));
    if (option->type == KohyaType::kFlag) {
      if (!value.words.empty()) problems.add(shown, "expected no value for a switch, got one");
      value.words.clear();
    } else if (option->type == KohyaType::kTexts) {
      while (equals == std::string::npos && i + 1 < words.size() && !starts_with(words[i + 1], "--")) {
        value.words.push_back(words[++i]);
      }
    } else if (value.words.empty()) {
      if (i + 1 == words.size() || starts_with(words[i + 1], "--")) {
        problems.add(shown, "expected a value, got none");
        continue;
      }
      value.words.push_back(words[++i]);
    }
    check_type(*option, value, problems);
    given[option->name] = std::move(value);
  }
}

std::string word_of(const PlacedValue& value) {
  switch (value.kind) {
    case PlacedValue::Kind::kInteger:
      return std::to_string(value.integer);
    case PlacedValue::Kind::kFloat:
      return number_text(value.floating);
    case PlacedValue::Kind::kBool:
      return value.boolean ? "True" : "False";
    default:
      return value.text;
  }
}

bool is_gui_key(const std::string& key) {
  static const std::set<std::string> kKeys = {"double_blocks_to_swap",  "epoch",
                                              "loraplus_lr_ratio",      "loraplus_text_encoder_lr_ratio",
                                              "loraplus_unet_lr_ratio", "lowvram",
                                              "mem_eff_save",           "noise_offset_type",
                                              "single_blocks_to_swap",  "stop_text_encoder_training"};
  return kKeys.contains(key);
}

// Options of a file that the command line does not give. Sections only group them.
void read_file_options(const PlacedValue& table, const std::string& file, Given& given, Given& gui_keys,
                       Problems& problems) {
  for (const PlacedValue& entry : table.items) {
    const std::string place = file + ":" + std::to_string(entry.place.line);
    if (entry.is(PlacedValue::Kind::kTable)) {
      read_file_options(entry, file, given, gui_keys, problems);
      continue;
    }
    if (is_gui_key(entry.key)) {
      gui_keys[entry.key] = {.words = {word_of(entry)}, .place = place};
      continue;
    }
    const KohyaOption* option = option_named(entry.key, place, problems);
    if (option == nullptr || given.count(option->name) != 0) continue;
    KohyaValue value{.words = {}, .place = place};
    if (option->type == KohyaType::kFlag) {
      const bool is_number = entry.is(PlacedValue::Kind::kInteger);  // as Python takes it: 0 is false
      if (!is_number && !entry.is(PlacedValue::Kind::kBool)) {
        problems.add(place, "expected true or false for " + entry.key + ", got " + describe(entry));
      }
      if (is_number ? entry.integer != 0 : entry.boolean) given[option->name] = value;
      continue;
    }
    if (entry.is(PlacedValue::Kind::kList) && option->type != KohyaType::kTexts) {
      problems.add(place, "expected one value for " + entry.key + ", got a list");
    } else if (entry.is(PlacedValue::Kind::kList)) {
      for (const PlacedValue& item : entry.items) value.words.push_back(word_of(item));
    } else {
      value.words.push_back(word_of(entry));
    }
    check_type(*option, value, problems);
    given[option->name] = std::move(value);
  }
}

void check_supported(const Given& given, Problems& problems) {
  for (const auto& [name, value] : given) {
    const KohyaOption& option = *find_kohya_option(name);
    const bool is_default = value.words.size() == 1 && value.words[0] == option.fallback;
    if (option.use != KohyaUse::kUnsupported || is_default) continue;
    problems.add(value.place, "expected no " + name + ", which cannot be had here, got it: " + option.note);
  }
}

}  // namespace

KohyaArguments parse_kohya_arguments(const std::vector<std::string>& words) {
  KohyaArguments arguments;
  Problems problems;
  read_words(words, arguments.given_, problems);
  if (arguments.has("config_file")) {
    std::string file = *arguments.text("config_file");
    if (!ends_with(file, ".toml")) file += ".toml";
    read_file_options(read_document(file), file, arguments.given_, arguments.gui_keys_, problems);
  }
  check_supported(arguments.given_, problems);
  problems.throw_if_any();
  return arguments;
}

std::optional<std::string> KohyaArguments::text(const std::string& name) const {
  const KohyaOption* option = find_kohya_option(name);
  MILLRACE_CHECK(option != nullptr);
  const auto found = given_.find(name);
  if (found != given_.end() && !found->second.words.empty()) return found->second.words[0];
  const std::string fallback = option->fallback;
  return fallback.empty() ? std::nullopt : std::optional(fallback);
}

std::optional<int64_t> KohyaArguments::integer(const std::string& name) const {
  const std::optional<std::string> word = text(name);
  return word ? parse_integer(*word) : std::nullopt;
}

std::optional<double> KohyaArguments::number(const std::string& name) const {
  const std::optional<std::string> word = text(name);
  return word ? parse_floating_point(*word) : std::nullopt;
}

std::vector<std::string> KohyaArguments::texts(const std::string& name) const {
  const auto found = given_.find(name);
  return found == given_.end() ? std::vector<std::string>{} : found->second.words;
}

DatasetArguments KohyaArguments::dataset() const {
  std::vector<std::string> words;
  for (const auto& [name, value] : given_) {
    if (find_kohya_option(name)->use != KohyaUse::kDataset) continue;
    words.push_back("--" + name);
    words.insert(words.end(), value.words.begin(), value.words.end());
  }
  DatasetArguments dataset = parse_dataset_arguments(words);
  MILLRACE_CHECK(dataset.rest.empty());
  dataset.settings.sd_scripts_limits = true;
  return dataset;
}

std::vector<std::string> kohya_warnings(const KohyaArguments& arguments) {
  std::vector<std::string> warnings;
  for (const auto& [name, value] : arguments.given()) {
    const KohyaOption& option = *find_kohya_option(name);
    if (option.use != KohyaUse::kNoEffect) continue;
    warnings.push_back("[" + value.place + "] " + name + " has no effect on FLUX, there as here: " + option.note);
  }
  for (const auto& [name, value] : arguments.gui_keys()) {
    warnings.push_back("[" + value.place + "] " + name + " has no effect: " + kOfGui);
  }
  return warnings;
}

}  // namespace millrace
