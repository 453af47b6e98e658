#include "compat/dot_list.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "compat/yaml_tree.h"

namespace millrace {
namespace {

using Kind = PlacedValue::Kind;

PlacedValue* find_member(PlacedValue& table, const std::string& key) {
  for (PlacedValue& item : table.items) {
    if (table.is(Kind::kTable) && item.key == key) return &item;
  }
  return nullptr;
}

bool is_component(const PlacedValue& value) {
  return value.find("_component_") != nullptr;
}

std::string hint(const PlacedValue& table, const std::string& key) {
  std::vector<std::string> known;
  for (const PlacedValue& item : table.items) known.push_back(item.key);
  const std::string near = nearest(key, known);
  return near.empty() ? "" : " (try " + near + ")";
}

void delete_key(const std::string& word, PlacedValue& root, Problems& problems) {
  PlacedValue* table = &root;
  const std::vector<std::string> path = split(std::string_view(word).substr(1), '.');
  for (size_t i = 0; i < path.size(); ++i) {
    PlacedValue* found = find_member(*table, path[i]);
    if (found == nullptr) {
      problems.add(word, "expected a key of the file to delete, got " + path[i] + hint(*table, path[i]));
      return;
    }
    if (i + 1 < path.size()) {
      table = found;
      continue;
    }
    if (is_component(*found)) {
      problems.add(word, "expected a key without _component_, got a component, which can only be replaced");
      return;
    }
    table->items.erase(table->items.begin() + (found - table->items.data()));
  }
}

PlacedValue value_of(const std::string& text, const std::string& key) {
  if (key == "max_filename") return {.kind = Kind::kText, .text = text};
  if (text == "None") return {};
  return yaml_value(text, key);
}

void set_key(const std::string& word, PlacedValue& root, Problems& problems) {
  const size_t equals = word.find('=');
  const std::string name = word.substr(0, equals), text = word.substr(equals + 1);
  PlacedValue* table = &root;
  std::vector<std::string> path = split(name, '.');
  PlacedValue value;
  try {
    value = value_of(text, path.back());
  } catch (const ConfigError& error) {
    problems.add(name, std::string("expected a YAML value: ") + error.what());
    return;
  }
  for (size_t i = 0; i < path.size(); ++i) {
    PlacedValue* found = find_member(*table, path[i]);
    if (table->is(Kind::kList) || path[i].empty()) {
      problems.add(name, table->is(Kind::kList) ? "expected the whole list, got one place of it (write key=[a,b])"
                                                : "expected words between the dots, got none");
      return;
    }
    if (found == nullptr) {
      table->items.push_back({.key = path[i]});
      found = &table->items.back();
    }
    if (i + 1 < path.size()) {
      if (!found->is(Kind::kTable) && !found->is(Kind::kList)) {
        *found = {.kind = Kind::kTable, .key = path[i]};
      }
    } else if (is_component(*found) && value.is(Kind::kText)) {
      path.emplace_back("_component_");
    } else {
      value.key = path[i];
      *found = std::move(value);
      return;
    }
    table = found;
  }
}

}  // namespace

void apply_overrides(const std::vector<std::string>& words, PlacedValue& root, Problems& problems) {
  for (const std::string& word : words) {
    const auto equals = std::count(word.begin(), word.end(), '=');
    if (starts_with(word, "--")) {
      problems.add(word.substr(0, word.find('=')), "expected key=value or ~key, got an option");
    } else if (starts_with(word, "~") && word.size() > 1 && equals == 0) {
      delete_key(word, root, problems);
    } else if (equals != 1 || word.front() == '=') {
      problems.add(word, equals > 1 ? "expected key=value with one =, got more (put such a value into the YAML file)"
                                    : "expected key=value or ~key, got another word");
    } else {
      set_key(word, root, problems);
    }
  }
}

}  // namespace millrace
