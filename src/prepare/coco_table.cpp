#include "prepare/coco_table.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <unordered_set>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "formats/json.h"
#include "formats/quote.h"
#include "prepare/emoji/utf8.h"
#include "prepare/numpy_shuffle.h"

namespace millrace {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kTimesteps = 8;
constexpr JsonLimits kLimits = {.max_depth = 32, .max_values = 16'000'000};  // COCO's training captions have 3 million

// Python's str.isspace().
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::string default_file(int64_t image_id) {
  char name[64];
  std::snprintf(name, sizeof name, "COCO_val2014_%012lld.jpg", static_cast<long long>(image_id));
  return name;
}

class Reader {
 public:
  explicit Reader(const std::filesystem::path& path)
      : place_(path.string()), root_(parse_ordered_json<DataError>(read_file(path), place_, kLimits)) {}

  const Json& annotations() const {
    const auto found = root_.is_object() ? root_.find("annotations") : root_.end();
    if (!root_.is_object() || found == root_.end() || !found->is_array() || found->empty())
      throw DataError(str("[", place_, "] expected the list \"annotations\" of COCO's captions, got none"));
    return *found;
  }

  // File names from "images", by id.
  std::map<int64_t, std::string> files() const {
    std::map<int64_t, std::string> names;
    const auto images = root_.find("images");
    if (images == root_.end() || !images->is_array()) return names;
    for (const Json& image : *images) {
      const auto name = image.is_object() ? image.find("file_name") : image.end();
      if (!image.is_object() || name == image.end() || !name->is_string()) continue;
      const auto& text = name->get_ref<const std::string&>();
      if (text.empty() || text == "." || text == ".." || text.find('/') != std::string::npos)
        throw DataError(str("[", place_, "] expected the plain name of a picture, got ", in_quotes(text)));
      names[integer(image, "id", "images")] = text;
    }
    return names;
  }

  int64_t integer(const Json& entry, const char* key, const char* list) const {
    const auto found = entry.is_object() ? entry.find(key) : entry.end();
    if (!entry.is_object() || found == entry.end() || !found->is_number_integer() || found->is_number_float())
      fail(entry, key, list, "a whole number");
    return found->get<int64_t>();
  }
  std::string caption(const Json& annotation) const {
    const auto found = annotation.find("caption");
    if (found == annotation.end() || !found->is_string()) fail(annotation, "caption", "annotations", "a text");
    return tidy_caption(found->get_ref<const std::string&>());
  }

 private:
  [[noreturn]] void fail(const Json& entry, const char* key, const char* list, const char* expected) const {
    throw DataError(
        str("[", place_, " ", list, "] expected ", expected, " as ", key, ", got ", in_quotes(entry.dump(), 80)));
  }

  std::string place_;
  Json root_;
};

// Python's csv module, minimal quoting.
std::string csv_field(const std::string& text) {
  if (text.find_first_of("\t\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    quoted += c;
    if (c == '"') quoted += c;
  }
  return quoted + '"';
}

}  // namespace

std::string tidy_caption(std::string_view caption) {
  std::u32string text = decode_utf8(caption);
  std::erase(text, U'\n');
  size_t begin = 0, end = text.size();
  while (begin < end && is_space(text[begin])) ++begin;
  while (end > begin && is_space(text[end - 1])) --end;
  std::string result;
  for (size_t i = begin; i < end; ++i) result += encode_utf8(text[i]);
  return result;
}

CocoTable choose_coco_captions(const CocoTableOptions& options) {
  if (options.num_samples < 1) throw ConfigError(str("[--num-samples] expected at least 1, got ", options.num_samples));
  const Reader reader(options.captions_file);
  const Json& annotations = reader.annotations();
  const auto files = reader.files();

  CocoTable table;
  for (const auto& [key, value] : annotations[0].items()) {
    if (key == "image_id" || key == "id" || key == "caption") table.columns.push_back(key);
  }
  table.columns.push_back("timestep");

  std::unordered_set<int64_t> seen;
  for (const int64_t i : numpy_permutation(options.seed, static_cast<int64_t>(annotations.size()))) {
    if (static_cast<int64_t>(table.rows.size()) == options.num_samples) break;
    const Json& annotation = annotations[static_cast<size_t>(i)];
    const int64_t image_id = reader.integer(annotation, "image_id", "annotations");
    if (image_id < 0 || image_id > 999'999'999'999)
      throw DataError(
          str("[", options.captions_file.string(), "] expected image_id of up to 12 digits, got ", image_id));
    if (!options.allow_duplicate_images && !seen.insert(image_id).second) continue;
    const auto file = files.find(image_id);
    table.rows.push_back({image_id, reader.integer(annotation, "id", "annotations"), reader.caption(annotation), 0,
                          file == files.end() ? default_file(image_id) : file->second});
  }
  std::stable_sort(table.rows.begin(), table.rows.end(),
                   [](const CocoRow& a, const CocoRow& b) { return a.id < b.id; });
  for (size_t i = 0; i < table.rows.size(); ++i) table.rows[i].timestep = static_cast<int>(i % kTimesteps);
  return table;
}

std::string coco_tsv(const CocoTable& table) {
  std::string text = join(table.columns, "\t") + "\n";
  for (const CocoRow& row : table.rows) {
    std::vector<std::string> cells;
    for (const std::string& column : table.columns) {
      if (column == "image_id") cells.push_back(std::to_string(row.image_id));
      if (column == "id") cells.push_back(std::to_string(row.id));
      if (column == "caption") cells.push_back(csv_field(row.caption));
      if (column == "timestep") cells.push_back(std::to_string(row.timestep));
    }
    text += join(cells, "\t") + "\n";
  }
  return text;
}

}  // namespace millrace
