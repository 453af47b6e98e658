// A checkpoint as a report of `millrace inspect`.
#pragma once

#include <filesystem>

#include "formats/inspect/inspect.h"

namespace millrace {

// path: a step's folder or its index.json, a folder of step-* folders, or a run's folder; of several steps the latest
// is taken. Every file and checksum is verified: damage is a StorageError.
// One that lacks a part is a StorageError, too; of older ones without an index it warns.
Report inspect_checkpoint(const std::filesystem::path& path, const InspectOptions& options);

// True for a folder that is named as a step's, whatever it holds.
bool is_step_folder(const std::filesystem::path& path);

}  // namespace millrace
