// Folders of pictures with a caption file beside each (internal to picture_sets/).
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "picture_sets/notices.h"
#include "picture_sets/options.h"

namespace millrace {

constexpr const char* kInfoCacheFile = "metadata_cache.json";

// "folder/name", as Python's os.path.join.
std::string join_path(const std::string& folder, const std::string& name);
// The name without its last ending, as Python's os.path.splitext.
std::string without_ending(const std::string& name);
// ".png", ".PNG", ...
std::span<const char* const> picture_endings();
bool has_picture_ending(const std::string& name);

// Names, sorted. Files that look like pictures but are not taken, and names that differ in their endings alone, go into
// notices.
std::vector<std::string> list_picture_names(const std::filesystem::path& folder, const std::string& shown,
                                            Notices& notices);

// The path of the caption file of a picture in that folder; nullopt: there is none.
std::optional<std::string> find_caption_file(const std::filesystem::path& folder, const std::string& picture_name,
                                             const SubsetOptions& subset);

struct CaptionFile {
  std::string path;
  std::string caption;
};
// The caption that belongs to a picture; nullopt: there is no file for it.
std::optional<CaptionFile> read_caption_file(const std::filesystem::path& folder, const std::string& picture_name,
                                             const SubsetOptions& subset, Notices& notices);

// Tags between commas, without blanks around them, in small letters.
void count_tags(const std::string& caption, std::map<std::string, int64_t>& counts);

}  // namespace millrace
