#include "picture_sets/read_document.h"

#include <iterator>
#include <limits>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/text.h"
#include "formats/quote.h"

namespace millrace {
namespace {

constexpr uint64_t kMaxDocumentBytes = uint64_t{16} << 20;
constexpr size_t kMaxDepth = 64;

// Counts the lines that the parser has read: nlohmann's events carry no place.
struct Reader {
  const char* at;
  int line = 1;
};
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  explicit CountingIterator(Reader* reader, const char* end) : reader_(reader), end_(end) {}
  reference operator*() const { return *position(); }
  CountingIterator& operator++() {
    if (*reader_->at == '\n') ++reader_->line;
    ++reader_->at;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return position() == other.position(); }
  bool operator!=(const CountingIterator& other) const { return !(*this == other); }

 private:
  const char* position() const { return reader_ == nullptr ? end_ : reader_->at; }
  Reader* reader_;
  const char* end_;
};

class TreeBuilder : public nlohmann::json_sax<nlohmann::json> {
 public:
  TreeBuilder(const Reader& reader, std::string file_name) : reader_(reader), file_name_(std::move(file_name)) {}
  PlacedValue take() { return std::move(root_); }

  bool null() override { return add({.kind = Kind::kNull}); }
  bool boolean(bool value) override { return add({.kind = Kind::kBool, .boolean = value}); }
  bool number_integer(int64_t value) override { return add({.kind = Kind::kInteger, .integer = value}); }
  bool number_unsigned(uint64_t value) override {
    if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      return add({.kind = Kind::kOther, .text = "a whole number beyond 64 bits"});
    }
    return number_integer(static_cast<int64_t>(value));
  }
  bool number_float(double value, const std::string&) override {
    return add({.kind = Kind::kFloat, .floating = value});
  }
  bool string(std::string& value) override { return add({.kind = Kind::kText, .text = value}); }
  bool binary(nlohmann::json::binary_t&) override { return false; }  // JSON text has none
  bool start_object(size_t) override { return open(Kind::kTable); }
  bool start_array(size_t) override { return open(Kind::kList); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    if (open_.back()->find(name) != nullptr) fail("every key once, got " + in_quotes(name) + " again");
    key_ = name;
    key_line_ = reader_.line;
    return true;
  }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception& error) override {
    const std::string message = error.what();
    const size_t colon = message.rfind("; ");
    fail("valid JSON, got: " + (colon == std::string::npos ? message : message.substr(0, colon)));
  }

 private:
  using Kind = PlacedValue::Kind;

  [[noreturn]] void fail(const std::string& expected) const {
    throw ConfigError("[" + file_name_ + ":" + std::to_string(reader_.line) + "] expected " + expected);
  }
  PlacedValue& place(PlacedValue value) {
    value.place = {key_line_ > 0 ? key_line_ : reader_.line, 0};
    value.key = std::exchange(key_, "");
    key_line_ = 0;
    if (open_.empty()) return root_ = std::move(value);
    return open_.back()->items.emplace_back(std::move(value));
  }
  bool add(PlacedValue value) {
    place(std::move(value));
    return true;
  }
  bool open(Kind kind) {
    if (open_.size() == kMaxDepth) fail("at most " + std::to_string(kMaxDepth) + " levels, got more");
    open_.push_back(&place({.kind = kind}));  // stays where it is until it is closed: only the innermost grows
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  const Reader& reader_;
  std::string file_name_;
  PlacedValue root_;
  std::vector<PlacedValue*> open_;
  std::string key_;
  int key_line_ = 0;
};

}  // namespace

nlohmann::ordered_json to_json(const PlacedValue& value) {
  switch (value.kind) {
    case PlacedValue::Kind::kBool:
      return value.boolean;
    case PlacedValue::Kind::kInteger:
      return value.integer;
    case PlacedValue::Kind::kFloat:
      return value.floating;
    case PlacedValue::Kind::kText:
    case PlacedValue::Kind::kOther:
      return as_utf8(value.text);
    case PlacedValue::Kind::kList: {
      nlohmann::ordered_json list = nlohmann::ordered_json::array();
      for (const PlacedValue& item : value.items) list.push_back(to_json(item));
      return list;
    }
    case PlacedValue::Kind::kTable: {
      nlohmann::ordered_json table = nlohmann::ordered_json::object();
      for (const PlacedValue& item : value.items) table[item.key] = to_json(item);
      return table;
    }
    case PlacedValue::Kind::kNull:
      break;
  }
  return nullptr;
}

PlacedValue parse_json_tree(std::string_view content, const std::string& file_name) {
  const char* end = content.data() + content.size();
  Reader reader{content.data()};
  TreeBuilder builder(reader, file_name);
  nlohmann::json::sax_parse(CountingIterator(&reader, end), CountingIterator(nullptr, end), &builder);
  return builder.take();
}

PlacedValue read_document(const std::filesystem::path& path) {
  const std::string name = path.string();
  const std::string lower = to_lower(name);
  const bool is_json = ends_with(lower, ".json");
  if (!is_json && !ends_with(lower, ".toml")) {
    throw ConfigError("[" + name + "] expected a file whose name ends with .toml or .json, got " +
                      in_quotes(path.filename().string()));
  }
  std::string content;
  try {
    content = read_file(path, kMaxDocumentBytes);
  } catch (const StorageError& error) {
    throw ConfigError(error.what());
  }
  if (content.starts_with("\xEF\xBB\xBF")) content.erase(0, 3);  // a byte order mark
  return is_json ? parse_json_tree(content, name) : parse_toml_tree(content, name);
}

}  // namespace millrace
