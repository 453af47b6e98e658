// Stored beside an unfinished file, so that it can be continued safely.
#pragma once

#include <optional>
#include <string>

#include "download/folder.h"
#include "download/remote_file.h"

namespace millrace {

struct PartNote {
  std::string path;    // of the finished file
  Checksum checksum;   // that the finished file must have
  std::string etag;    // the server's name for the content, with its quotes; empty when it gave none
  std::string origin;  // of the server that gave it

  bool operator==(const PartNote&) const = default;
};

// "data.tar.0123456789abcdef": unique for every path, and short enough for any file system.
std::string part_stem(const std::string& path);

void write_part_note(const Folder& state_folder, const std::string& name, const PartNote& note);
// nullopt when it is missing or unreadable.
std::optional<PartNote> read_part_note(const Folder& state_folder, const std::string& name);

}  // namespace millrace
