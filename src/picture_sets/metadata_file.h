// Metadata of many pictures in one file (internal to picture_sets/).
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "images/aspect_buckets.h"

namespace millrace {

struct MetadataEntry {
  std::string key;  // a path, whole or below image_dir
  std::optional<std::string> caption, tags;
  std::optional<PictureSize> size;
};

// {"key": {"caption", "tags", "image_size": [w, h]}, ...} or, where the name ends with .jsonl, lines of
// {"image_path": key, "caption", ...}, where the size may also be "width" and "height", in the order of the file. Of a
// repeated key the last counts. Throws DataError naming path and entry.
std::vector<MetadataEntry> read_metadata_file(const std::filesystem::path& path);

// metadata_cache.json: {"path": {"caption", "resolution": [w, h]}, ...}
std::vector<MetadataEntry> read_info_cache(const std::filesystem::path& path);
// As sd-scripts writes it; entries have captions and sizes. Throws StorageError.
void write_info_cache(const std::filesystem::path& path, const std::vector<MetadataEntry>& entries);

}  // namespace millrace
