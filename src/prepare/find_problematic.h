// The samples that the reference recipe cannot decode, as its find_problematic_indices.py lists them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "prepare/bad_sample_list.h"
#include "prepare/unit_run.h"

namespace millrace {

struct FindProblematicOptions {
  std::string input;  // shards or a folder of `datasets`
  std::filesystem::path output = "problematic_indices.txt";
  std::filesystem::path reasons;  // a TSV of index, name and problem; empty: none
  int64_t samples_per_unit = 1000;
  bool allow_damaged_shards = false;
  UnitShare share;
};

struct FindProblematicSummary {
  int64_t samples = 0;
  BadSampleList problems;
};

// Writes the indices, one a line, ascending. Calls progress after every unit. On ranks other than the first the summary
// is empty.
FindProblematicSummary find_problematic(const FindProblematicOptions& options, const PrepareProgress& progress = {});

}  // namespace millrace
