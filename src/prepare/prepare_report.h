// .prepare.json in a finished output: the options that made it and what was left out. Hidden, as `datasets` takes every
// other file for a part of the set.
#pragma once

#include <filesystem>

#include "prepare/unit_run.h"

namespace millrace {

// With the job's identity under "options".
void write_prepare_report(const std::filesystem::path& output, const UnitResult& report);

// Of an output that was made with the same options; null where there is none, or one of others.
UnitResult read_prepare_report(const std::filesystem::path& output, const UnitResult& identity);

}  // namespace millrace
