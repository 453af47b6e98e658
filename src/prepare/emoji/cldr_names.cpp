#include "prepare/emoji/cldr_names.h"

#include <string_view>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "prepare/emoji/utf8.h"

namespace millrace {
namespace {

std::string without_entities(std::string_view text) {
  constexpr std::pair<std::string_view, char> kEntities[] = {
      {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
  std::string result;
  while (!text.empty()) {
    bool found = false;
    for (const auto& [entity, character] : kEntities) {
      if (!text.starts_with(entity)) continue;
      result += character;
      text.remove_prefix(entity.size());
      found = true;
      break;
    }
    if (found) continue;
    result += text.front();
    text.remove_prefix(1);
  }
  return result;
}

}  // namespace

// The file is generated, one element a line, so that two fixed strings suffice instead of an XML parser.
std::map<char32_t, std::string> read_cldr_names(const std::filesystem::path& path) {
  const std::string place = "[" + path.string() + "] ";
  if (!std::filesystem::exists(path)) {
    throw DataError(place + "expected the English names of emoji, got no such file " +
                    "(try: apt-get install unicode-cldr-core, or name a file with --annotations)");
  }
  constexpr uint64_t kMaxBytes = 64 << 20;
  const std::string content = read_file(path, kMaxBytes);
  constexpr std::string_view kStart = "<annotation cp=\"", kSpoken = "\" type=\"tts\">";
  std::map<char32_t, std::string> names;
  size_t at = 0;
  while ((at = content.find(kStart, at)) != std::string::npos) {
    at += kStart.size();
    const size_t quote = content.find('"', at);
    if (quote == std::string::npos) break;
    if (content.compare(quote, kSpoken.size(), kSpoken) != 0) continue;
    const size_t begin = quote + kSpoken.size(), end = content.find('<', begin);
    if (end == std::string::npos) break;
    const std::u32string code_points = decode_utf8(without_entities(content.substr(at, quote - at)));
    if (code_points.size() == 1) names[code_points[0]] = without_entities(content.substr(begin, end - begin));
    at = end;
  }
  if (names.empty()) throw DataError(place + "expected CLDR annotations with type=\"tts\", got none");
  return names;
}

}  // namespace millrace
