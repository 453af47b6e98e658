#include "compat/interpolation.h"

#include <set>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/python_float.h"
#include "base/text.h"
#include "compat/yaml_tree.h"
#include "config/number_text.h"

namespace millrace {
namespace {

using Kind = PlacedValue::Kind;
using Path = std::vector<std::string>;  // keys, and positions in lists, from the root

constexpr size_t kMaxBytes = 1 << 20;
constexpr int kMaxNesting = 64;
constexpr size_t kMaxChain = 500;

// Where the brace that text[open] opens is closed; npos: nowhere.
size_t closing_brace(std::string_view text, size_t open) {
  int depth = 0;
  for (size_t i = open; i < text.size(); ++i) {
    if (text[i] == '{') ++depth;
    if (text[i] == '}' && --depth == 0) return i;
  }
  return std::string_view::npos;
}

std::string python_str(const PlacedValue& value) {
  switch (value.kind) {
    case Kind::kNull:
      return "None";
    case Kind::kBool:
      return value.boolean ? "True" : "False";
    case Kind::kInteger:
      return std::to_string(value.integer);
    case Kind::kFloat:
      return python_float(value.floating);
    default:
      return value.text;
  }
}

PlacedValue* member(PlacedValue& parent, const std::string& key) {
  if (parent.is(Kind::kList)) {
    const std::optional<int64_t> index = parse_integer(key);
    const bool is_inside = index && *index >= 0 && *index < static_cast<int64_t>(parent.items.size());
    return is_inside ? &parent.items[static_cast<size_t>(*index)] : nullptr;
  }
  for (PlacedValue& item : parent.items) {
    if (parent.is(Kind::kTable) && item.key == key) return &item;
  }
  return nullptr;
}

class Resolver {
 public:
  Resolver(PlacedValue& root, const std::string& file_name, const EnvironmentLookup& environment)
      : root_(root), file_name_(file_name), environment_(environment) {}

  void resolve(PlacedValue& value, const Path& parent) {
    if (value.is(Kind::kText)) {
      if (value.text.find("${") == std::string::npos || done_.contains(&value)) return;
      if (!in_progress_.insert(&value).second) {
        fail(value, "expected an interpolation that ends, got one that leads back to itself");
      }
      if (in_progress_.size() > kMaxChain) {
        fail(value, str("expected at most ", kMaxChain, " interpolations one behind the other, got more"));
      }
      PlacedValue resolved = expand(value.text, value, parent, 0);
      in_progress_.erase(&value);
      resolved.key = value.key;
      resolved.place = value.place;
      value = std::move(resolved);
      mark_done(value);
      return;
    }
    Path path = parent;
    path.emplace_back();
    for (size_t i = 0; i < value.items.size(); ++i) {
      path.back() = value.is(Kind::kList) ? std::to_string(i) : value.items[i].key;
      // What is below knows its table as its parent.
      const Path here = value.items[i].is(Kind::kText) ? parent : path;
      resolve(value.items[i], here);
    }
  }

 private:
  [[noreturn]] void fail(const PlacedValue& at, const std::string& message) const {
    const bool is_in_file = at.place.line > 0;
    const std::string place =
        is_in_file ? str(file_name_, ":", at.place.line, ":", at.place.column) : str("an override of ", file_name_);
    throw ConfigError(str("[", place, "] ", message));
  }

  // A literal ${ in it stays.
  void mark_done(const PlacedValue& value) {
    done_.insert(&value);
    for (const PlacedValue& item : value.items) mark_done(item);
  }

  void count(const PlacedValue& value, const PlacedValue& at) {
    bytes_ += 16 + value.text.size();
    if (bytes_ > kMaxBytes) fail(at, "expected interpolations of at most 1 MiB of text, got more");
    for (const PlacedValue& item : value.items) count(item, at);
  }

  // The value of a text with interpolations. parent: of the table that holds it.
  PlacedValue expand(const std::string& text, const PlacedValue& at, const Path& parent, int nesting) {
    if (nesting > kMaxNesting) fail(at, str("expected at most ", kMaxNesting, " ${ inside of each other, got more"));
    PlacedValue result{.kind = Kind::kText};
    for (size_t i = 0; i < text.size();) {
      if (text.compare(i, 3, "\\${") == 0) {
        result.text += "${";
        i += 3;
        continue;
      }
      if (text.compare(i, 2, "${") != 0) {
        result.text += text[i++];
        continue;
      }
      const size_t end = closing_brace(text, i + 1);
      if (end == std::string::npos) fail(at, "expected } after ${, got \"" + json_escape(text) + "\"");
      PlacedValue value = lookup(text.substr(i + 2, end - i - 2), at, parent, nesting);
      count(value, at);
      if (i == 0 && end + 1 == text.size()) return value;
      if (value.is(Kind::kList) || value.is(Kind::kTable)) {
        fail(at, "expected a word inside of the text \"" + json_escape(text) + "\", got " + describe(value));
      }
      result.text += python_str(value);
      i = end + 1;
    }
    return result;
  }

  PlacedValue lookup(const std::string& inner, const PlacedValue& at, const Path& parent, int nesting) {
    const PlacedValue expanded = expand(inner, at, parent, nesting + 1);
    const std::string name(trim(python_str(expanded)));
    const size_t colon = name.find(':');
    if (colon != std::string::npos) return resolver(name.substr(0, colon), name.substr(colon + 1), at, parent);
    return *node(name, at, parent, /*is_optional=*/false);
  }

  PlacedValue resolver(const std::string& name, const std::string& arguments, const PlacedValue& at,
                       const Path& parent) {
    const std::string_view which = trim(name);
    if (which == "oc.decode") return decoded(std::string(trim(arguments)), at);
    const size_t comma = arguments.find(',');
    const std::string first(trim(std::string_view(arguments).substr(0, comma)));
    const bool has_default = comma != std::string::npos;
    const auto otherwise = [&] {
      return yaml_scalar(std::string(trim(std::string_view(arguments).substr(comma + 1))));
    };
    if (which == "oc.select") {
      if (const PlacedValue* value = node(first, at, parent, /*is_optional=*/true)) return *value;
      return has_default ? otherwise() : PlacedValue();
    }
    if (which != "oc.env") {
      fail(at, "expected ${key}, ${oc.env:NAME}, ${oc.decode:TEXT} or ${oc.select:KEY,DEFAULT}, got the resolver " +
                   json_escape(name));
    }
    if (const std::optional<std::string> value = environment_(first)) return {.kind = Kind::kText, .text = *value};
    if (!has_default) {
      fail(at, "expected the environment variable " + json_escape(first) +
                   ", which is not set (try ${oc.env:" + json_escape(first) + ",DEFAULT})");
    }
    return otherwise();
  }

  // The value that a text, such as that of an environment variable, would have in the file.
  PlacedValue decoded(const std::string& text, const PlacedValue& at) const {
    if (text == "None") return {};  // what has been resolved to null
    try {
      return yaml_value(text, "oc.decode");
    } catch (const ConfigError&) {
      fail(at, "expected a value to decode, got \"" + json_escape(text) + "\"");
    }
  }

  // nullptr: there is no such key, which is_optional allows.
  const PlacedValue* node(const std::string& name, const PlacedValue& at, const Path& parent, bool is_optional) {
    Path path;
    size_t dots = 0;
    while (dots < name.size() && name[dots] == '.') ++dots;
    if (dots > 0) {
      if (dots > parent.size() + 1) fail(at, "expected a key within the file, got ${" + json_escape(name) + "}");
      path.assign(parent.begin(), parent.end() - static_cast<ptrdiff_t>(dots - 1));
    }
    std::string keys = name.substr(dots);
    for (char& c : keys) c = c == '[' ? '.' : c;  // a[0] is a.0
    std::erase(keys, ']');
    for (const std::string& key : split(keys, '.')) path.push_back(key);

    PlacedValue* found = &root_;
    Path above;
    for (size_t i = 0; i < path.size(); ++i) {
      if (found->is(Kind::kText)) resolve(*found, above);  // ${a.b} where a is an interpolation itself
      PlacedValue* next = member(*found, path[i]);
      if (next == nullptr && is_optional) return nullptr;
      if (next == nullptr) fail(at, unknown(name, *found, path[i]));
      if (i > 0) above.push_back(path[i - 1]);
      found = next;
    }
    if (!found->is(Kind::kText)) above.push_back(path.back());
    if (!found->is(Kind::kText)) {
      if (!in_progress_.insert(found).second)
        fail(at, "expected an interpolation that ends, got a table within itself");
      resolve(*found, above);
      in_progress_.erase(found);
      return found;
    }
    resolve(*found, above);
    return found;
  }

  static std::string unknown(const std::string& name, const PlacedValue& table, const std::string& key) {
    std::vector<std::string> known;
    for (const PlacedValue& item : table.items) {
      if (table.is(Kind::kTable)) known.push_back(item.key);
    }
    const std::string near = nearest(key, known);
    return "expected a key of this file in ${" + json_escape(name) + "}, got " + json_escape(key) +
           (near.empty() ? "" : " (try " + near + ")");
  }

  PlacedValue& root_;
  const std::string& file_name_;
  const EnvironmentLookup& environment_;
  std::set<const PlacedValue*> in_progress_, done_;
  size_t bytes_ = 0;
};

}  // namespace

void resolve_interpolations(PlacedValue& root, const std::string& file_name, const EnvironmentLookup& environment) {
  Resolver(root, file_name, environment).resolve(root, {});
}

}  // namespace millrace
