// .prepare.json in a finished output: the options that made it and the samples left out. Hidden, since `datasets` takes
// every other file for a part of the set.
#pragma once

#include <filesystem>

#include "prepare/unit_run.h"

namespace millrace {

// With the job's identity under "options".
void write_prepare_report(const std::filesystem::path& output, const UnitResult& report);

// The report of an output made with the same options; null if there is none or the options differ.
UnitResult read_prepare_report(const std::filesystem::path& output, const UnitResult& identity);

}  // namespace millrace
