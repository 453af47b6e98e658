#include "tasks/llama_finetune/llama_data_sets.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/json.h"

namespace millrace {
namespace {

using json = nlohmann::json;

// One data set of a list: an object whose members are named as options of the section.
class SetReader {
 public:
  SetReader(const json& object, std::string place) : object_(object), place_(std::move(place)) {}

  void text(const char* key, std::string& member) {
    if (const json* value = find(key, "a text", &json::is_string)) member = value->get<std::string>();
  }
  void flag(const char* key, bool& member) {
    if (const json* value = find(key, "true or false", &json::is_boolean)) member = value->get<bool>();
  }
  std::optional<double> number(const char* key) {
    const json* value = find(key, "a number", &json::is_number);
    return value == nullptr ? std::nullopt : std::optional(value->get<double>());
  }
  std::optional<std::vector<std::string>> texts(const char* key) {
    const json* value = find(key, "a text or a list of texts", [](const json& one) {
      if (one.is_string()) return true;
      return one.is_array() && std::ranges::all_of(one, [](const json& item) { return item.is_string(); });
    });
    if (value == nullptr) return std::nullopt;
    if (value->is_string()) return std::vector<std::string>{value->get<std::string>()};
    return value->get<std::vector<std::string>>();
  }
  template <typename E>
  void choice(const char* key, E& member) {
    std::string word = choice_text(member);
    text(key, word);
    std::vector<std::string> words;
    for (const auto& choice : choices_of(E{})) {
      words.emplace_back(choice.text);
      if (word == choice.text) {
        member = choice.value;
        return;
      }
    }
    fail(key, "one of " + join(words, ", "), json(word).dump());
  }
  bool has(const char* key) const { return object_.contains(key); }

  void refuse_unknown() const {
    for (const auto& [key, value] : object_.items()) {
      if (asked_.contains(key)) continue;
      const std::string near = nearest(key, {asked_.begin(), asked_.end()});
      fail(key, "one of " + join({asked_.begin(), asked_.end()}, ", "),
           "another key" + (near.empty() ? "" : " (try " + near + ")"));
    }
  }
  [[noreturn]] void fail(const std::string& key, const std::string& expected, const std::string& got) const {
    throw ConfigError(str("[", place_, ", ", key, "] expected ", expected, ", got ", got));
  }

 private:
  template <typename Is>
  const json* find(const char* key, const char* expected, Is is) {
    asked_.insert(key);
    const auto found = object_.find(key);
    if (found == object_.end()) return nullptr;
    if (!std::invoke(is, *found)) fail(key, expected, found->dump());
    return &*found;
  }

  const json& object_;
  std::string place_;
  std::set<std::string> asked_;
};

std::optional<RowFileKind> kind_of(DataFormat format) {
  switch (format) {
    case DataFormat::kAuto:
      return std::nullopt;
    case DataFormat::kJson:
      return RowFileKind::kJson;
    case DataFormat::kCsv:
      return RowFileKind::kCsv;
    case DataFormat::kTable:
      return RowFileKind::kTable;
    case DataFormat::kText:
      return RowFileKind::kText;
    case DataFormat::kParagraphs:
      return RowFileKind::kParagraphs;
    case DataFormat::kDocuments:
      return RowFileKind::kDocument;
  }
  return std::nullopt;
}

bool has_no_system(RowStyle style) {
  return style == RowStyle::kAlpaca || style == RowStyle::kText;
}

std::map<std::string, std::string> column_map(const std::vector<std::string>& pairs, const std::string& place) {
  std::map<std::string, std::string> columns;
  for (const std::string& pair : pairs) {
    const size_t equals = pair.find('=');
    if (equals == 0 || equals == std::string::npos || equals + 1 == pair.size()) {
      throw ConfigError(str("[", place, "] expected pairs such as \"input=question\", got \"", pair, "\""));
    }
    columns[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  return columns;
}

void read_packing(SetReader& reader, const FinetuneConfig& finetune, PackingOptions& packs) {
  reader.flag("split_across_packs", packs.split_across_packs);
  if (const std::optional<double> most = reader.number("max_packs")) {
    if (*most < 1 || *most != std::floor(*most)) reader.fail("max_packs", "a whole number above 0", str(*most));
    packs.max_packs = static_cast<int64_t>(*most);
  }
  for (const char* key : {"split_across_packs", "max_packs"}) {
    const bool counts = finetune.order == EpochOrder::kTorchtune && finetune.packing == Packing::kGreedy;
    if (reader.has(key) && !counts) {
      reader.fail(key, "finetune.order = \"torchtune\" and finetune.packing = \"greedy\" with it", "others");
    }
  }
}

LlamaDataSet read_set(const std::string& text, const LlamaDataSet& defaults, const FinetuneConfig& finetune,
                      const std::string& place) {
  const json object = parse_json<ConfigError>(text, place);
  if (!object.is_object()) {
    throw ConfigError(str("[", place, "] expected an object {\"data\": ...}, got ", text.substr(0, 80)));
  }
  SetReader reader(object, place);
  LlamaDataSet set = defaults;
  set.data = reader.texts("data").value_or(std::vector<std::string>{});
  if (set.data.empty()) reader.fail("data", "files of rows, a folder or a data set", "none");
  reader.text("data_field", set.form.field);
  DataFormat format = finetune.data_format;
  reader.choice("data_format", format);
  std::string separator(1, set.form.separator);
  reader.text("csv_separator", separator);
  if (!is_csv_separator(separator)) reader.fail("csv_separator", "one character", json(separator).dump());
  set.form.kind = kind_of(format);
  set.form.separator = separator.front();
  reader.text("split", set.split);
  reader.choice("rows", set.format.style);
  reader.text("column", set.format.column);
  if (const auto pairs = reader.texts("columns")) set.format.columns = column_map(*pairs, place + ", columns");
  reader.choice("train_on", set.format.masking);
  if (has_no_system(set.format.style)) set.format.new_system_prompt.reset();
  std::string prompt = set.format.new_system_prompt.value_or("");
  reader.text("new_system_prompt", prompt);
  if (!prompt.empty() && has_no_system(set.format.style)) {
    reader.fail("new_system_prompt", str("none for rows = \"", choice_text(set.format.style), "\""),
                json(prompt).dump());
  }
  set.format.new_system_prompt = prompt.empty() ? std::nullopt : std::optional(prompt);
  reader.flag("add_eos", set.add_eos);
  constexpr double kMostWeight = 1000;
  if (const std::optional<double> weight = reader.number("weight")) {
    if (!(*weight > 0 && *weight <= kMostWeight)) {
      reader.fail("weight", "a number above 0 and at most 1000", str(*weight));
    }
    set.weights.assign(set.data.size(), *weight);
  }
  read_packing(reader, finetune, set.packs);
  reader.refuse_unknown();
  return set;
}

std::vector<LlamaDataSet> read_sets(const std::vector<std::string>& texts, const LlamaDataSet& defaults,
                                    const FinetuneConfig& finetune, const std::string& option) {
  std::vector<LlamaDataSet> sets;
  for (const std::string& text : texts) {
    sets.push_back(read_set(text, defaults, finetune, str(option, ", data set ", sets.size() + 1)));
  }
  return sets;
}

}  // namespace

bool is_csv_separator(const std::string& text) {
  return text.size() == 1 && text != "\"" && text != "\n" && text != "\r";
}

LlamaDataSet common_set(const LlamaRunConfig& config) {
  const FinetuneConfig& finetune = config.finetune;
  LlamaDataSet set;
  set.form.field = finetune.data_field;
  set.form.kind = kind_of(finetune.data_format);
  if (is_csv_separator(finetune.csv_separator)) set.form.separator = finetune.csv_separator.front();
  set.format.style = finetune.rows;
  set.format.column = finetune.column;
  set.format.columns = column_map(finetune.columns, "finetune.columns");
  if (!finetune.new_system_prompt.empty()) set.format.new_system_prompt = finetune.new_system_prompt;
  set.format.masking = finetune.train_on;
  set.format.version = finetune.torchtune_version;
  set.add_eos = finetune.add_eos;
  set.packs = {finetune.max_seq_len, finetune.split_across_packs, finetune.max_packs};
  return set;
}

std::vector<LlamaDataSet> training_sets(const LlamaRunConfig& config) {
  const FinetuneConfig& finetune = config.finetune;
  LlamaDataSet own = common_set(config);
  own.split = finetune.split;
  if (!finetune.data_sets.empty()) return read_sets(finetune.data_sets, own, finetune, "finetune.data_sets");
  if (finetune.data.empty()) throw ConfigError("[finetune.data] expected files of rows, got nothing");
  own.data = finetune.data;
  own.weights = config.data_weights();
  return {own};
}

std::vector<LlamaDataSet> validation_sets(const LlamaRunConfig& config) {
  const FinetuneConfig& finetune = config.finetune;
  LlamaDataSet own = common_set(config);
  own.split = finetune.validation_split;
  if (!finetune.validation_sets.empty()) {
    return read_sets(finetune.validation_sets, own, finetune, "finetune.validation_sets");
  }
  if (!finetune.validation_data.empty()) {
    own.data = finetune.validation_data;
    return {own};
  }
  if (finetune.validation_split.empty()) {
    throw ConfigError(
        "[finetune.validation_data] expected rows to validate on, got nothing (or set finetune.validation_split to a "
        "part of the data)");
  }
  std::vector<LlamaDataSet> sets = training_sets(config);
  for (LlamaDataSet& set : sets) {
    set.split = finetune.validation_split;
    set.weights.clear();
  }
  return sets;
}

}  // namespace millrace
