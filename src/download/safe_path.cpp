#include "download/safe_path.h"

#include <algorithm>

#include "base/text.h"

namespace millrace {
namespace {

constexpr size_t kMaxPath = 2048, kMaxComponent = 255;

bool is_control(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte < 0x20 || byte == 0x7F;
}

}  // namespace

std::string path_problem(std::string_view path) {
  if (path.empty()) return "an empty name";
  if (path.size() > kMaxPath) return "a name of more than 2,048 bytes";
  if (std::any_of(path.begin(), path.end(), is_control)) return "a control character";
  if (!is_valid_utf8(path)) return "bytes that are not UTF-8";
  // U+0080 to U+009F are control characters too, written C2 80 to C2 9F.
  for (size_t i = 0; i + 1 < path.size(); ++i) {
    if (path[i] == '\xC2' && static_cast<unsigned char>(path[i + 1]) < 0xA0) return "a control character";
  }
  if (path.find('\\') != std::string_view::npos) return "a backslash";
  if (path.front() == '/') return "an absolute path";
  for (const std::string& component : split(path, '/')) {
    if (component.empty()) return "an empty folder name";
    if (component == "." || component == "..") return "a path with " + component;
    if (component.size() > kMaxComponent) return "a name of more than 255 bytes";
    if (to_lower(component) == kStateFolder) return "millrace's own folder";
  }
  return "";
}

}  // namespace millrace
