// The columns that load_dataset("webdataset") makes of the files of a sample: by their extensions, and for JSON by the
// values of the first samples.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

enum class FieldKind { kImage, kText, kInteger, kJson, kBytes, kUnsupported };

// field: all that stands behind the first dot of a file's name; its last part decides.
FieldKind field_kind(std::string_view field);

// "a/b.c.txt" -> "a/b", "c.txt". False for what is no member of a sample: hidden files, names without a dot.
bool split_member_name(std::string_view name, std::string_view& key, std::string_view& field);

}  // namespace millrace
