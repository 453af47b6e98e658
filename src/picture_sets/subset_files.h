// The pictures of a subset and their captions as they stand on the disk, before any is looked into.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "images/aspect_buckets.h"
#include "picture_sets/notices.h"
#include "picture_sets/options.h"

namespace millrace {

struct PictureFile {
  std::string key;                  // what names it: its path below image_dir with that, or its name in the metadata
  std::string path;                 // as it is opened
  std::string caption;              // as read; empty: none
  std::string caption_path;         // the file that has the caption; empty: none
  std::string mask_path;            // of kMasks
  int orientation = 1;              // of EXIF, 1 to 8: how it has to be turned
  std::optional<PictureSize> size;  // as metadata state it, until the picture itself is looked at
};

struct SubsetFiles {
  std::vector<PictureFile> pictures;  // in sd-scripts' order
  // How often each tag stands in captions, or in the tags of metadata.
  std::map<std::string, int64_t> tag_counts;
};

// kCaptionFiles and kMasks: the files of image_dir that end with png, jpg, jpeg, webp or bmp (in small or in capital
// letters), sorted by name; with cache_info those of image_dir/metadata_cache.json where there is one. A caption is
// the first line of NAME + caption_extension, or of the same without the last four parts between underscores; with
// enable_wildcard all lines that are not blank. Without one it is class_tokens.
// kMetadata: the entries of the JSON or JSONL file, the longest names first: caption, caption_separator, tags.
//
// root: the folder that relative paths which are not in the working directory are below, that of the data set file.
// What is missing or odd goes into notices.
SubsetFiles list_subset_files(const SubsetOptions& subset, CaptionStyle style, const std::filesystem::path& root,
                              Notices& notices);

// Writes image_dir/metadata_cache.json for cache_info where there is none. files: of the subset, with their sizes.
// Throws StorageError.
void write_subset_info(const SubsetOptions& subset, const std::filesystem::path& root,
                       const std::vector<PictureFile>& files);

// path where there is such a file or folder, else root/path where there is one, else path.
std::filesystem::path find_path(const std::string& path, const std::filesystem::path& root);

}  // namespace millrace
