// The columns that load_dataset("webdataset") makes of a sample's files: by their extensions, and for JSON by the
// values of the first samples.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

enum class FieldKind { kImage, kText, kInteger, kJson, kBytes, kUnsupported };

// field: everything after the first dot of a file's name; its last part decides.
FieldKind field_kind(std::string_view field);

// Whether `datasets` reads a file of this name (without its folders): not if it begins with "." or "__".
bool is_sample_name(std::string_view file);

}  // namespace millrace
