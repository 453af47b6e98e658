#include "picture_sets/subset_files.h"

#include <algorithm>
#include <set>
#include <system_error>
#include <utility>

#include "base/error.h"
#include "base/python_text.h"
#include "base/text.h"
#include "picture_sets/caption_files.h"
#include "picture_sets/metadata_file.h"

namespace millrace {
namespace {

bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}
bool is_folder(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error);
}

void note_missing_caption(const SubsetOptions& subset, const std::string& place, Notices& notices) {
  const std::string used = subset.class_tokens ? "class_tokens are used" : "the caption is empty";
  notices.add("no_caption",
              "expected a file with caption_extension \"" + subset.caption_extension +
                  "\" beside every picture, got none: " + used,
              place);
}

bool is_newer(const std::string& path, const std::filesystem::path& than) {
  if (path.empty()) return false;
  std::error_code error, other_error;
  const auto changed = std::filesystem::last_write_time(path, error);
  const auto known = std::filesystem::last_write_time(than, other_error);
  return !error && !other_error && changed > known;
}

// Pictures, captions and sizes of an earlier look at the folder.
SubsetFiles from_info_cache(const SubsetOptions& subset, const std::filesystem::path& cache, Notices& notices) {
  SubsetFiles files;
  std::set<std::string> names;
  for (MetadataEntry& entry : read_info_cache(cache)) {
    if (!entry.caption || entry.caption->empty()) note_missing_caption(subset, entry.key, notices);
    const std::string name = std::filesystem::path(entry.key).filename().string();
    const std::string beside = (cache.parent_path() / name).string();
    PictureFile picture{.key = entry.key, .path = is_there(entry.key) ? entry.key : beside};
    picture.caption = entry.caption.value_or("");
    picture.caption_path = find_caption_file(cache.parent_path(), name, subset).value_or("");
    if (is_newer(picture.caption_path, cache)) {
      notices.add("old_info_cache",
                  std::string("expected a ") + kInfoCacheFile +
                      " newer than all captions, got an older one: its caption is taken (try deleting it)",
                  entry.key);
    }
    names.insert(name);
    picture.size = entry.size;
    files.pictures.push_back(std::move(picture));
  }
  for (const std::string& name : list_picture_names(cache.parent_path(), subset.image_dir, notices)) {
    if (names.contains(name)) continue;
    notices.add("not_in_info_cache",
                std::string("expected every picture of the folder in its ") + kInfoCacheFile +
                    ", got more: left out (try deleting it)",
                join_path(subset.image_dir, name));
  }
  return files;
}

SubsetFiles from_caption_files(const SubsetOptions& subset, const std::filesystem::path& root, Notices& notices) {
  const std::filesystem::path folder = find_path(subset.image_dir, root);
  if (!is_folder(folder)) {
    notices.add("no_folder",
                "expected a folder of pictures, got " + std::string(is_there(folder) ? "a file" : "no such folder"),
                subset.image_dir, true);
    return {};
  }
  SubsetFiles files;
  const std::filesystem::path cache = folder / kInfoCacheFile;
  if (subset.cache_info && is_there(cache)) {
    files = from_info_cache(subset, cache, notices);
  } else {
    for (const std::string& name : list_picture_names(folder, subset.image_dir, notices)) {
      PictureFile picture{.key = join_path(subset.image_dir, name), .path = (folder / name).string()};
      const std::optional<CaptionFile> caption = read_caption_file(folder, name, subset, notices);
      if (!caption) note_missing_caption(subset, picture.key, notices);
      picture.caption = caption ? caption->caption : subset.class_tokens.value_or("");
      if (caption) picture.caption_path = caption->path;
      files.pictures.push_back(std::move(picture));
    }
  }
  for (const PictureFile& picture : files.pictures) count_tags(picture.caption, files.tag_counts);
  return files;
}

void find_masks(const SubsetOptions& subset, const std::filesystem::path& root, SubsetFiles& files, Notices& notices) {
  const std::filesystem::path folder = find_path(subset.conditioning_data_dir, root);
  Notices unused;  // of the folder of masks
  std::map<std::string, std::string> masks;
  if (is_folder(folder)) {
    for (const std::string& name : list_picture_names(folder, subset.conditioning_data_dir, unused)) {
      masks.emplace(without_ending(name), (folder / name).string());
    }
  }
  for (PictureFile& picture : files.pictures) {
    const auto found = masks.find(without_ending(std::filesystem::path(picture.path).filename().string()));
    if (found != masks.end()) {
      picture.mask_path = found->second;
    } else {
      notices.add("no_mask", "expected a mask of the same name in " + subset.conditioning_data_dir + ", got none",
                  picture.key, true);
    }
  }
}

// The tags follow the caption; with wildcards every line of it.
std::string with_tags(const SubsetOptions& subset, const std::string& caption, const std::string& tags) {
  if (!subset.enable_wildcard) {
    return tags.empty() ? caption : caption + (caption.empty() ? "" : subset.caption_separator) + tags;
  }
  std::vector<std::string> lines;
  for (const std::string& line : split(caption, '\n')) {
    if (!python_strip(line).empty()) lines.push_back(line + subset.caption_separator + tags);
  }
  return join(lines, "\n");
}

size_t count_characters(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

// The file of that name or, where there is none, the first of that name with the ending of a picture.
std::string find_listed_picture(const std::string& name, const std::filesystem::path& root) {
  const std::filesystem::path path = find_path(name, root);
  std::error_code error;
  if (std::filesystem::is_regular_file(path, error)) return path.string();
  std::vector<std::string> found;
  for (const char* ending : picture_endings()) {
    const std::filesystem::path with_ending = find_path(name + ending, root);
    if (is_there(with_ending)) found.push_back(with_ending.string());
  }
  return found.empty() ? path.string() : *std::min_element(found.begin(), found.end());
}

SubsetFiles from_metadata(const SubsetOptions& subset, const std::filesystem::path& root, Notices& notices) {
  const std::filesystem::path path = find_path(subset.metadata_file, root);
  if (!is_there(path)) {
    notices.add("no_metadata", "expected a metadata file, got no such file", subset.metadata_file, true);
    return {};
  }
  std::vector<MetadataEntry> entries = read_metadata_file(path);
  std::stable_sort(entries.begin(), entries.end(), [](const MetadataEntry& a, const MetadataEntry& b) {
    return count_characters(a.key) > count_characters(b.key);
  });
  SubsetFiles files;
  for (const MetadataEntry& entry : entries) {
    if (subset.image_dir.empty() && !entry.key.starts_with('/')) {
      throw DataError("[" + subset.metadata_file + "] expected whole paths, or image_dir beside metadata_file, got \"" +
                      json_escape(entry.key) + "\"");
    }
    PictureFile picture{.key = entry.key};
    picture.path = find_listed_picture(join_path(subset.image_dir, entry.key), root);
    picture.caption = entry.caption.value_or("");
    picture.caption_path = path.string();
    if (entry.tags) {
      // Where a line is a caption of its own, the tags of all of them are one line.
      const std::string tags =
          subset.enable_wildcard ? replace_all(*entry.tags, "\n", subset.caption_separator) : *entry.tags;
      picture.caption = with_tags(subset, picture.caption, tags);
      count_tags(tags, files.tag_counts);
    }
    if (picture.caption.empty()) {
      notices.add("no_caption", "expected a caption or tags for every picture, got none: the caption is empty",
                  entry.key);
    }
    picture.size = entry.size;
    files.pictures.push_back(std::move(picture));
  }
  return files;
}

}  // namespace

std::filesystem::path find_path(const std::string& path, const std::filesystem::path& root) {
  if (is_there(path) || std::filesystem::path(path).is_absolute() || !is_there(root / path)) return path;
  return root / path;
}

void write_subset_info(const SubsetOptions& subset, const std::filesystem::path& root,
                       const std::vector<PictureFile>& files) {
  const std::filesystem::path path = find_path(subset.image_dir, root) / kInfoCacheFile;
  if (!subset.cache_info || files.empty() || is_there(path)) return;
  std::vector<MetadataEntry> entries;
  for (const PictureFile& file : files) {
    PictureSize stored = *file.size;
    if (file.orientation >= 5) std::swap(stored.width, stored.height);
    entries.push_back({.key = file.key, .caption = file.caption, .tags = {}, .size = stored});
  }
  write_info_cache(path, entries);
}

SubsetFiles list_subset_files(const SubsetOptions& subset, CaptionStyle style, const std::filesystem::path& root,
                              Notices& notices) {
  if (style == CaptionStyle::kMetadata) return from_metadata(subset, root, notices);
  SubsetFiles files = from_caption_files(subset, root, notices);
  if (style == CaptionStyle::kMasks) find_masks(subset, root, files, notices);
  return files;
}

}  // namespace millrace
