#include "picture_sets/caption_files.h"

#include <algorithm>
#include <array>
#include <system_error>

#include "base/error.h"
#include "base/files.h"
#include "base/python_text.h"
#include "base/text.h"
#include "tokenizers/unicode.h"

namespace millrace {
namespace {

constexpr std::array kEndings = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".PNG", ".JPG", ".JPEG", ".WEBP", ".BMP"};
// Pictures that other programs take, and those of kEndings in mixed letters.
constexpr std::array kOtherEndings = {".png", ".jpg", ".jpeg", ".webp", ".bmp",  ".avif",
                                      ".jxl", ".gif", ".tiff", ".tif",  ".heic", ".heif"};
constexpr uint64_t kMaxCaptionBytes = uint64_t{1} << 20;

bool is_file(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error);
}

// A link to nothing: a picture that cannot be read, rather than none.
bool is_dangling(const std::filesystem::path& path) {
  std::error_code error, other_error;
  return std::filesystem::is_symlink(path, error) && !std::filesystem::exists(path, other_error);
}

// Names of pictures cut out around faces end with four numbers: NAME_10_20_30_40.
std::string without_face_numbers(const std::string& stem) {
  const std::vector<std::string> parts = split(stem, '_');
  if (parts.size() < 5) return stem;
  return join({parts.begin(), parts.end() - 4}, "_");
}

// The caption in a file's content; "" where it is noted why there is none.
std::string caption_in(std::string content, const std::string& path, const SubsetOptions& subset, Notices& notices) {
  if (content.starts_with("\xEF\xBB\xBF")) {
    notices.add("byte_order_mark", "expected UTF-8 without a byte order mark, got one: left out of the caption", path);
    content.erase(0, 3);
  }
  if (!is_valid_utf8(content)) {
    notices.add("caption_not_utf8", "expected a caption in UTF-8, got other bytes (try saving it as UTF-8)", path,
                true);
    return "";
  }
  const std::vector<std::string> lines = python_lines(content);
  if (lines.empty()) {
    notices.add("empty_caption_file",
                "expected a caption, got an empty file (try deleting it, or a blank line for no caption)", path, true);
    return "";
  }
  if (!subset.enable_wildcard) return std::string(python_strip(lines[0]));
  std::vector<std::string> kept;
  for (const std::string& line : lines) {
    if (!python_strip(line).empty()) kept.emplace_back(python_strip(line));
  }
  return join(kept, "\n");
}

}  // namespace

std::string join_path(const std::string& folder, const std::string& name) {
  if (folder.empty() || name.starts_with('/')) return name;
  return ends_with(folder, "/") ? folder + name : folder + "/" + name;
}

std::string without_ending(const std::string& name) {
  const size_t dot = name.rfind('.');
  const size_t begin = name.find_first_not_of('.', name.rfind('/') == std::string::npos ? 0 : name.rfind('/') + 1);
  return dot == std::string::npos || begin == std::string::npos || dot < begin ? name : name.substr(0, dot);
}

std::span<const char* const> picture_endings() {
  return kEndings;
}

bool has_picture_ending(const std::string& name) {
  return std::any_of(kEndings.begin(), kEndings.end(), [&](const char* ending) { return ends_with(name, ending); });
}

std::vector<std::string> list_picture_names(const std::filesystem::path& folder, const std::string& shown,
                                            Notices& notices) {
  std::vector<std::string> names;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    const std::string name = at->path().filename().string();
    const bool is_picture = is_file(at->path()) || is_dangling(at->path());
    if (name.starts_with('.') || !is_picture) continue;
    if (has_picture_ending(name)) {
      names.push_back(name);
    } else if (std::any_of(kOtherEndings.begin(), kOtherEndings.end(),
                           [&](const char* ending) { return ends_with(to_lower(name), ending); })) {
      notices.add("other_ending",
                  "expected .png, .jpg, .jpeg, .webp or .bmp, got another ending: not trained on (try converting or "
                  "renaming it)",
                  join_path(shown, name));
    }
  }
  if (error) throw DataError("[" + shown + "] expected a folder that can be read, got: " + error.message());
  std::sort(names.begin(), names.end());
  for (size_t i = 1; i < names.size(); ++i) {
    if (without_ending(names[i]) == without_ending(names[i - 1])) {
      notices.add(
          "same_stem",
          "expected pictures of different names, got the same name with two endings: they share a caption and caches",
          join_path(shown, names[i]));
    }
  }
  return names;
}

std::optional<std::string> find_caption_file(const std::filesystem::path& folder, const std::string& picture_name,
                                             const SubsetOptions& subset) {
  const std::string stem = without_ending(picture_name);
  // "txt" is ".txt", as in sd-scripts. With an empty ending the file has the picture's name alone.
  const std::string& given = subset.caption_extension;
  const std::string ending = given.empty() || given.starts_with('.') ? given : "." + given;
  for (const std::string& name : {stem, without_face_numbers(stem)}) {
    const std::filesystem::path path = folder / (name + ending);
    if (is_file(path)) return path.string();
  }
  return std::nullopt;
}

std::optional<CaptionFile> read_caption_file(const std::filesystem::path& folder, const std::string& picture_name,
                                             const SubsetOptions& subset, Notices& notices) {
  const std::optional<std::string> path = find_caption_file(folder, picture_name, subset);
  if (!path) return std::nullopt;
  std::error_code error;
  if (std::filesystem::file_size(*path, error) > kMaxCaptionBytes && !error) {
    notices.add("long_caption_file",
                "expected a caption of at most " + std::to_string(kMaxCaptionBytes) + " bytes, got a longer file",
                *path, true);
    return CaptionFile{*path, ""};
  }
  return CaptionFile{*path, caption_in(read_file(*path, kMaxCaptionBytes), *path, subset, notices)};
}

void count_tags(const std::string& caption, std::map<std::string, int64_t>& counts) {
  for (const std::string_view part : python_split(caption, ",")) {
    const std::string_view tag = python_strip(part);
    if (!tag.empty()) ++counts[unicode::to_lowercase(tag)];
  }
}

}  // namespace millrace
