// Long jobs divided into units that are done in any order, by any number of threads and processes, and never twice.
//
// A unit's result is a small JSON object, written last and atomically into the job's folder: a killed job resumes with
// the units that have no result. Processes share only that folder: each takes every size-th unit, and the first then
// does the units that the others have not done, so that no process waits for another.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace millrace {

using UnitResult = nlohmann::ordered_json;
// done, total, and whether the new units are this run's work.
using PrepareProgress = std::function<void(int64_t, int64_t, bool)>;

struct UnitShare {
  int rank = 0;
  int size = 1;
  int num_threads = 1;
};

// Units are 0, 1, 2 ...; their number may become known only during the run. Called from several threads.
struct UnitJob {
  // Whether the unit exists. If it does, all smaller numbers must exist too.
  std::function<bool(int64_t unit)> exists;
  // Makes the unit's files in the job's folder, under unique names, complete or not at all. "bytes" in the result, if
  // any, is the disk space used.
  std::function<UnitResult(int64_t unit)> work;
  // Receives results as they arrive, from this run or an earlier one; one call at a time. May throw to stop the job.
  std::function<void(const UnitResult& result, bool is_new)> on_result;
  // Whether these results, of the first units without a gap, make further units unnecessary. Optional.
  std::function<bool(const std::vector<UnitResult>& first)> is_enough;
  // An estimate of the remaining units, to notice early that they will not fit on the disk. Optional.
  std::function<int64_t()> remaining;
};

// Begins the job in folder, or resumes it. identity: everything that determines the result. Throws ConfigError when
// the folder holds an unfinished job with another identity.
// False on a rank that is not needed: the first rank begins the job, and others end if they do not see it begin within
// a while, or if is_over() says that it is complete.
bool open_unit_folder(const std::filesystem::path& folder, const UnitResult& identity, const std::string& command,
                      const UnitShare& share = {}, const std::function<bool()>& is_over = {});

// "unit-0000042.arrow" in the job's folder: the name of a unit's file.
std::filesystem::path unit_path(const std::filesystem::path& folder, int64_t unit, const std::string& extension);

// Renames a unit's file to its final name, unless an earlier run already did. Throws StorageError.
void move_unit_file(const std::filesystem::path& from, const std::filesystem::path& to);

// Call when its results are in their final place.
void remove_unit_folder(const std::filesystem::path& folder);

// The results in order, of all units or of as many as suffice. Empty on all ranks but the first. An error in a unit
// stops the job; finished units are kept. Throws StorageError when the disk has too little room for further units.
std::vector<UnitResult> run_units(const std::filesystem::path& folder, const UnitShare& share, const UnitJob& job);

}  // namespace millrace
