// A checkpoint as a report of `millrace inspect`.
#pragma once

#include <filesystem>

#include "formats/inspect/inspect.h"

namespace millrace {

// path: a step's folder or its index.json, a folder of step-* folders, or a run's folder; with several steps the
// latest is used. Every file and checksum is verified: damage is a StorageError.
// An incomplete one is also a StorageError; for older ones without an index it only warns.
Report inspect_checkpoint(const std::filesystem::path& path, const InspectOptions& options);

// True for a folder with the name of a step's, whatever it holds.
bool is_step_folder(const std::filesystem::path& path);

}  // namespace millrace
