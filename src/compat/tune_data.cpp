// The rows that are trained and validated on.
#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "base/error.h"
#include "base/text.h"
#include "compat/tune_parts.h"
#include "formats/split_slices.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// A builder is a style of rows, with the data set of Hugging Face and the columns that it takes by default.
struct Builder {
  const char* name;    // TuneComponent::here
  const char* style;   // of finetune.rows; "": as conversation_style says
  const char* source;  // "": there is none
  const char* input;   // columns of instruct; of the conversation or the text in a row
  const char* output;
  const char* subset;  // `name` of the data set
};
constexpr std::array kBuilders = std::to_array<Builder>({
    {"chat", "", "", "", "", ""},
    {"instruct", "instruct", "", "", "", ""},
    {"alpaca", "alpaca", "tatsu-lab/alpaca", "", "", ""},
    {"alpaca_cleaned", "alpaca", "yahma/alpaca-cleaned", "", "", ""},
    {"text", "text", "", "text", "", ""},
    {"samsum", "instruct", "Samsung/samsum", "dialogue", "summary", ""},
    {"grammar", "instruct", "liweili/c4_200m", "", "", ""},
    {"slimorca", "sharegpt", "Open-Orca/SlimOrca-Dedup", "", "", ""},
    {"cnn_dailymail", "text", "ccdv/cnn_dailymail", "article", "", "3.0.0"},
    {"wikitext", "text", "EleutherAI/wikitext_document_level", "page", "", "wikitext-103-v1"},
});
const Builder& builder_of(const TuneComponent& component) {
  return *std::ranges::find_if(kBuilders,
                               [&](const Builder& builder) { return component.here == std::string(builder.name); });
}

// What one builder says about its rows.
struct Rows {
  std::vector<std::string> files;
  std::string split, rows, column, train_on, new_system_prompt, field;
  std::string format = "auto", separator = ",";
  std::vector<std::string> columns;
  bool packed = false, split_across_pack = false, add_eos = true;
  std::optional<int64_t> max_packs;

  // Whether both together are one data set, with more files: each is split and packed by itself.
  bool joins(const Rows& other) const {
    const bool is_whole = split.find('[') == std::string::npos && !packed;
    return is_whole && has_form_of(other) && split == other.split && has_files_of(other) && !other.packed;
  }
  bool has_files_of(const Rows& other) const {
    return field == other.field && format == other.format && separator == other.separator;
  }
  bool has_form_of(const Rows& other) const {
    return rows == other.rows && column == other.column && columns == other.columns && train_on == other.train_on &&
           new_system_prompt == other.new_system_prompt && add_eos == other.add_eos;
  }
};

// data_files: a path, a list of them, or a table by splits.
std::vector<std::string> data_files(TuneTable& table, const std::string& split) {
  const PlacedValue* value = table.value("data_files");
  if (value == nullptr) return {};
  const std::string name = split.substr(0, split.find('['));
  if (!value->is(PlacedValue::Kind::kTable)) {
    if (name != "train" && name != "all") {
      table.refuse("split", "expected train, the only split of data_files without names, got " + name +
                                " (try data_files: {" + name + ": FILE})");
    }
    return table.texts("data_files").value_or(std::vector<std::string>{});
  }
  TuneTable by_split = table.table("data_files");
  const std::vector<std::string> files = by_split.texts(name).value_or(std::vector<std::string>{});
  if (files.empty()) table.refuse("data_files", "expected files for the split " + name + ", got none");
  return files;
}

// Where the files of a data set are, as its `data_dir` and its `name` (a folder where there is one of it) say; "": the
// source as it is.
std::string folder_in(const TuneTranslator& tune, TuneTable& table, const std::string& source,
                      const std::string& subset) {
  std::error_code ignored;
  const std::string fetched = source.substr(source.rfind('/') + 1);  // where `millrace download` puts it
  fs::path folder = fs::is_directory(source, ignored) ? source : fetched;
  const auto data_dir = table.text("data_dir");
  if (data_dir) {
    folder /= *data_dir;
    if (!fs::is_directory(folder, ignored)) {
      table.refuse("data_dir", "expected a folder in " + source + ", got " + json_escape(*data_dir) +
                                   " (try source with the folder of the rows)");
    } else {
      tune.out.note(table.from("data_dir"), Fate::kBecame, "the folder of finetune.data");
    }
  }
  const std::string name = table.text("name").value_or(subset);
  if (!name.empty() && fs::is_directory(folder / name, ignored)) {
    if (table.has("name")) tune.out.note(table.from("name"), Fate::kBecame, "the folder of finetune.data");
    return (folder / name).string();
  }
  table.note("name", Fate::kNoEffect, "the data set has no folder of this name; all its files of the split are read");
  return data_dir ? folder.string() : "";
}

// Kinds of files that `source` may name, and the names that say so here.
struct FileKind {
  const char* source;
  const char* format;  // of finetune.data_format
  std::vector<const char*> endings;
};
const FileKind kFileKinds[] = {{"json", "json", {".json", ".jsonl", ".ndjson"}},
                               {"csv", "csv", {".csv"}},
                               {"text", "text", {".txt"}},
                               {"parquet", "table", {".parquet"}},
                               {"arrow", "table", {".arrow"}}};
const FileKind* file_kind(const std::string& source) {
  const auto* found = std::ranges::find_if(kFileKinds, [&](const FileKind& kind) { return source == kind.source; });
  return found == std::end(kFileKinds) ? nullptr : found;
}

std::vector<std::string> find_files(const TuneTranslator& tune, TuneTable& table, const std::string& source,
                                    const std::string& split, const std::string& subset) {
  std::vector<std::string> files = data_files(table, split);
  if (file_kind(source) != nullptr) {
    const auto data_dir = table.text("data_dir");
    if (files.empty() && !data_dir) {
      table.refuse("data_files", "expected files for source: " + source + ", got none");
    }
    if (files.empty() && data_dir) return {*data_dir};
    if (data_dir) table.refuse("data_dir", "expected data_files or data_dir, got both");
    table.note("name", Fate::kNoEffect, "files have no parts of their own names");
    return files;
  }
  const std::string folder = folder_in(tune, table, source, subset);
  std::error_code ignored;
  if (!files.empty()) {
    const fs::path parent = folder.empty() ? source : folder;
    if (!fs::is_directory(parent, ignored)) {
      table.refuse("source",
                   "expected json, csv, text, parquet, arrow or a folder with data_files, got " + json_escape(source));
      return {};
    }
    for (std::string& file : files) file = (parent / file).string();
    return files;
  }
  if (!folder.empty()) return {folder};
  if (fs::exists(source, ignored)) return {source};  // a file, or a folder of which a run takes the split's files
  const TheirSetting from = table.from(table.has("source") ? "source" : "_component_");
  tune.out.note(
      from, Fate::kBecame,
      "a data set of Hugging Face is not fetched by a run: `millrace download dataset " + source + "` fetches it");
  return {source};
}

// How files of the kind `source` are read, where their names do not say it.
void read_file_form(TuneTable& table, const std::string& source, Rows& rows) {
  const FileKind* kind = file_kind(source);
  if (kind == nullptr) return;
  const auto says_kind = [&](const std::string& file) {
    return std::ranges::any_of(kind->endings, [&](const char* ending) { return ends_with(to_lower(file), ending); });
  };
  if (!std::ranges::all_of(rows.files, says_kind)) rows.format = kind->format;
  if (source == "text") {
    const std::string by = table.text("sample_by").value_or("line");
    if (by != "line" && by != "paragraph" && by != "document") {
      table.refuse("sample_by", "expected line, paragraph or document, got " + json_escape(by));
    }
    if (by != "line") rows.format = by == "paragraph" ? "paragraphs" : "documents";
  }
  if (source == "csv") {
    rows.separator = table.text("delimiter").value_or(table.text("sep").value_or(","));
    if (rows.separator.size() != 1) {
      table.refuse(table.has("delimiter") ? "delimiter" : "sep",
                   "expected one character, got " + json_escape(rows.separator));
    }
  }
}

std::string train_on(TuneTable& table, bool all_by_default) {
  const auto strategy = table.text("masking_strategy");
  const auto on_input = table.flag("train_on_input");
  if (!strategy) return on_input.value_or(all_by_default) ? "all" : "assistant";
  for (const auto& [theirs, ours] :
       {std::pair{"train_on_all", "all"}, {"train_on_assistant", "assistant"}, {"train_on_last", "last_assistant"}}) {
    if (*strategy == theirs) return ours;
  }
  table.refuse("masking_strategy",
               "expected one of train_on_all, train_on_assistant, train_on_last, got " + json_escape(*strategy));
  return "assistant";
}

void read_columns(TuneTable& table, const Builder& builder, Rows& rows) {
  const PlacedValue* map = table.value("column_map");
  if (map != nullptr && map->items.empty() && rows.rows == "sharegpt") map = nullptr;  // torchtune's own columns
  std::vector<std::string> needed;
  if (rows.rows == "instruct") needed = {"input", "output"};
  if (rows.rows == "sharegpt") needed = {"conversations"};
  for (const std::string& key : needed) {
    const bool is_there =
        map == nullptr || std::ranges::any_of(map->items, [&](const PlacedValue& item) { return item.key == key; });
    if (!is_there) table.refuse("column_map", "expected a column for " + key + ", too, got a map without one");
  }
  for (size_t i = 0; map != nullptr && i < map->items.size(); ++i) {
    rows.columns.push_back(map->items[i].key + "=" + map->items[i].text);
  }
  if (map == nullptr && *builder.input != '\0') {
    rows.columns = {std::string("input=") + builder.input, std::string("output=") + builder.output};
  }
}

void read_style(TuneTable& table, const Builder& builder, Rows& rows) {
  const std::string kind = builder.name;
  rows.rows = builder.style;
  if (kind == "chat") {
    rows.rows = table.text("conversation_style").value_or("");
    if (rows.rows != "openai" && rows.rows != "sharegpt") {
      table.refuse("conversation_style",
                   "expected openai or sharegpt, got " + (rows.rows.empty() ? "none" : json_escape(rows.rows)));
    }
    rows.column = table.text("conversation_column").value_or("");
  }
  if (rows.rows == "text") {
    rows.column = kind == "text" ? table.text("column").value_or(builder.input) : builder.input;
    rows.add_eos = table.flag("add_eos").value_or(true);
  } else {
    rows.train_on = train_on(table, rows.rows == "alpaca");
    if (rows.rows != "alpaca") {
      const auto prompt = table.text("new_system_prompt");
      if (prompt && prompt->empty()) {
        table.refuse("new_system_prompt",
                     "expected a text or null, got an empty one, with which torchtune puts an empty system message in "
                     "front of every conversation (try new_system_prompt: null)");
      }
      rows.new_system_prompt = prompt.value_or("");
    }
    if (kind != "chat") read_columns(table, builder, rows);
  }
}

// What `datasets` can do, and a run cannot: put several splits together, and fetch files. True: refused.
bool is_of_several_splits(TuneTable& table, const std::string& text) {
  std::vector<std::string> names;
  for (const std::string& part : split(text, '+')) names.emplace_back(trim(part.substr(0, part.find('['))));
  if (std::ranges::all_of(names, [&](const std::string& name) { return name == names.front(); })) return false;
  table.refuse("split",
               "expected parts of one split, got " + text + " (try a list under dataset, with a member for each)");
  return true;
}
// Before the rows are counted: what no data set can be cut by.
void check_split(TuneTranslator& tune, const TuneTable& table, const std::string& text) {
  try {
    parse_split(text, 0, table.from("split").place);
  } catch (const ConfigError& error) {
    tune.out.problems().add_line(error.what());
  }
}
void refuse_urls(TuneTable& table, const std::vector<std::string>& files) {
  const auto is_url = [](const std::string& file) { return file.find("://") != std::string::npos; };
  if (const auto found = std::ranges::find_if(files, is_url); found != files.end()) {
    table.refuse("data_files", "expected files on this machine, got " + *found + ", which a run does not fetch");
  }
}

std::optional<Rows> read_rows(TuneTranslator& tune, TuneTable table) {
  const TuneComponent* component = tune.component(table, TuneRole::kDataset);
  if (component == nullptr) return std::nullopt;
  const Builder& builder = builder_of(*component);
  Rows rows;
  rows.split = table.text("split").value_or("train");
  const std::string source = table.text("source").value_or(builder.source);
  const bool names_subset = builder.name == std::string("wikitext");
  const std::string subset = (names_subset ? table.text("subset") : std::nullopt).value_or(builder.subset);
  if (source.empty()) {
    table.refuse("source", "expected json, csv, a file or a folder, got none");
  } else if (!is_of_several_splits(table, rows.split)) {
    check_split(tune, table, rows.split);
    rows.files = find_files(tune, table, source, rows.split, subset);
    refuse_urls(table, rows.files);
  }
  rows.field = table.text("field").value_or("");
  read_file_form(table, source, rows);
  rows.packed = table.flag("packed").value_or(false);
  rows.split_across_pack =
      rows.packed && table.flag("split_across_pack").value_or(builder.style == std::string("text"));
  rows.max_packs = table.integer("max_packs");
  read_style(table, builder, rows);
  if (table.value("filter_fn") != nullptr) {
    table.refuse("filter_fn", "expected null, got a function of Python (leave the rows out of the file)");
  }
  for (const char* key : {"revision", "trust_remote_code"}) {
    table.note(key, Fate::kNoEffect, "it chooses among files of Hugging Face; rows are read from files that are there");
  }
  for (const char* key : {"num_proc", "keep_in_memory", "cache_dir", "download_mode", "verification_mode"}) {
    table.note(key, Fate::kSameResult, "rows are read from files that are there");
  }
  table.refuse_unknown();
  return rows;
}

// A data set, or a list of them, one after the other; nothing after a refusal.
std::vector<Rows> read_all(TuneTranslator& tune, const std::string& key) {
  const PlacedValue* value = tune.root.value(key);
  if (value == nullptr) return {};
  if (!value->is(PlacedValue::Kind::kList)) {
    const std::optional<Rows> rows = read_rows(tune, tune.root.table(key));
    return rows ? std::vector{*rows} : std::vector<Rows>();
  }
  std::vector<Rows> all;
  for (size_t i = 0; i < value->items.size(); ++i) {
    const std::string path = key + "." + std::to_string(i);
    const std::optional<Rows> rows = read_rows(tune, TuneTable(&value->items[i], path, tune.file, tune.out));
    if (!rows) return {};
    if (!all.empty() && all.front().packed != rows->packed) {
      tune.root.refuse(key, "expected data sets that are all packed, or none of them, got " + path + ", which differs");
      return {};
    }
    if (!all.empty() && all.back().joins(*rows)) {
      all.back().files.insert(all.back().files.end(), rows->files.begin(), rows->files.end());
    } else {
      all.push_back(*rows);
    }
  }
  return all;
}

// A member of finetune.data_sets says what is not as the section [finetune] says, whose form is that of `section`.
std::string data_set_json(const Rows& rows, const Rows& section, bool packs) {
  nlohmann::ordered_json set = {{"data", rows.files}, {"split", rows.split}, {"rows", rows.rows}};
  const auto add = [&](const char* key, const auto& own, const auto& of_section) {
    if (own != of_section) set[key] = own;
  };
  add("column", rows.column, section.column);
  add("columns", rows.columns, section.columns);
  add("data_field", rows.field, section.field);
  add("data_format", rows.format, section.format);
  add("csv_separator", rows.separator, section.separator);
  if (!rows.train_on.empty()) add("train_on", rows.train_on, section.train_on);
  add("new_system_prompt", rows.new_system_prompt, section.new_system_prompt);
  add("add_eos", rows.add_eos, section.add_eos);
  if (packs && rows.packed && rows.split_across_pack) set["split_across_packs"] = true;
  if (packs && rows.packed && rows.max_packs) set["max_packs"] = *rows.max_packs;
  return set.dump();
}

std::vector<std::string> data_set_list(const std::vector<Rows>& all, const Rows& section, bool packs) {
  std::vector<std::string> list;
  for (const Rows& rows : all) list.push_back(data_set_json(rows, section, packs));
  return list;
}

// A list of unlike data sets; finetune.rows and finetune.packing then say how prompts are laid out and rows packed.
void set_several(const TuneTranslator& tune, const std::vector<Rows>& all) {
  const TheirSetting from{.name = "dataset", .value = "", .place = tune.root.from("dataset").place};
  const auto chat = std::find_if(all.begin(), all.end(), [](const Rows& rows) { return rows.rows != "text"; });
  tune.out.set("finetune.data_sets", data_set_list(all, Rows(), /*packs=*/true), from);
  tune.out.set("finetune.rows", chat == all.end() ? "text" : chat->rows, from);
  tune.out.set("finetune.packing", all.front().packed ? "greedy" : "none", from);
}

void set_rows(const TuneTranslator& tune, const Rows& rows) {
  Translation& out = tune.out;
  const TheirSetting from{.name = "dataset", .value = "", .place = tune.root.from("dataset").place};
  out.set("finetune.data", rows.files, from);
  out.set("finetune.split", rows.split, from);
  out.set("finetune.rows", rows.rows, from);
  if (!rows.column.empty()) out.set("finetune.column", rows.column, from);
  if (!rows.columns.empty()) out.set("finetune.columns", rows.columns, from);
  if (!rows.field.empty()) out.set("finetune.data_field", rows.field, from);
  if (rows.format != "auto") out.set("finetune.data_format", rows.format, from);
  if (rows.separator != ",") out.set("finetune.csv_separator", rows.separator, from);
  if (!rows.train_on.empty()) out.set("finetune.train_on", rows.train_on, from);
  if (!rows.new_system_prompt.empty()) out.set("finetune.new_system_prompt", rows.new_system_prompt, from);
  if (!rows.add_eos) out.set("finetune.add_eos", false, from);
  out.set("finetune.packing", rows.packed ? "greedy" : "none", from);
  if (rows.split_across_pack) out.set("finetune.split_across_packs", true, from);
  if (rows.packed && rows.max_packs) out.set("finetune.max_packs", *rows.max_packs, from);
}

}  // namespace

void TuneTranslator::data() {
  const std::vector<Rows> rows = read_all(*this, "dataset");
  if (rows.size() == 1) {
    set_rows(*this, rows.front());
  } else if (!rows.empty()) {
    set_several(*this, rows);
  } else if (root.value("dataset") == nullptr) {
    root.refuse("dataset", "expected a data set, got none");
  }
  out.set("finetune.order", "torchtune", {.name = "sampler", .value = "", .place = ""});
  const bool is_null = root.has("shuffle") && root.value("shuffle") == nullptr;  // which Python takes for false
  out.set("finetune.shuffle", root.flag("shuffle").value_or(!is_null), root.from("shuffle", "true"));
  if (const auto* collate = root.value("collate_fn")) {
    try {
      find_tune_component(collate->text, TuneRole::kCollate, root.from("collate_fn").place);
      root.note("collate_fn", Fate::kSameResult, "samples are padded, or packed, as they come");
    } catch (const ConfigError& error) {
      out.problems().add_line(error.what());
    }
  }

  const auto every = root.integer("run_val_every_n_steps");
  if (!every) {
    for (const char* key : {"dataset_val", "batch_size_val"}) {
      root.note(key, Fate::kSameResult, "nothing is validated without run_val_every_n_steps");
    }
    return;
  }
  const std::vector<Rows> held_back = read_all(*this, "dataset_val");
  if (held_back.empty()) {
    if (root.value("dataset_val") == nullptr) {
      root.refuse("run_val_every_n_steps", "expected dataset_val with it, got none");
    }
    return;
  }
  const TheirSetting from{.name = "dataset_val", .value = "", .place = root.from("dataset_val").place};
  out.set("validation.enable", true, root.from("run_val_every_n_steps"));
  out.set("validation.freq", *every, root.from("run_val_every_n_steps"));
  const bool is_alike = rows.size() == 1 && held_back.size() == 1 && held_back.front().has_form_of(rows.front()) &&
                        held_back.front().has_files_of(rows.front());
  if (is_alike) {
    out.set("finetune.validation_data", held_back.front().files, from);
    out.set("finetune.validation_split", held_back.front().split, from);
  } else {
    const Rows section = rows.size() == 1 ? rows.front() : Rows();
    out.set("finetune.validation_sets", data_set_list(held_back, section, /*packs=*/false), from);
  }
  const auto size = root.integer("batch_size_val");
  out.set("validation.local_batch_size", size.value_or(root.integer("batch_size").value_or(1)),
          root.from("batch_size_val", "batch_size"));
}

}  // namespace millrace
