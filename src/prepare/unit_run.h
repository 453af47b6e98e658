// Long jobs cut into units that are done in any order, by any number of threads and processes, and never twice.
//
// A unit's result is a small JSON object, written last and atomically into the job's folder: a job that was killed goes
// on with the units that have none. Processes need only that folder in common: each takes every size-th unit, and the
// first then does what the others have not done, so that nobody waits for anybody.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace millrace {

using UnitResult = nlohmann::ordered_json;
// done, total, and whether what was added is this run's work.
using PrepareProgress = std::function<void(int64_t, int64_t, bool)>;

struct UnitShare {
  int rank = 0;
  int size = 1;
  int num_threads = 1;
};

// Units are 0, 1, 2 ...; how many there are may turn out on the way. Called from several threads.
struct UnitJob {
  // Whether there is such a unit. Must hold for all smaller numbers when it holds for one.
  std::function<bool(int64_t unit)> exists;
  // Makes the unit's files in the job's folder, under names of its own, complete or not at all. Its "bytes", if any,
  // are what it took on the disk.
  std::function<UnitResult(int64_t unit)> work;
  // Results as they come, from this run or an earlier one; one call at a time. May throw to stop the job.
  std::function<void(const UnitResult& result, bool is_new)> on_result;
  // Whether these, the results of the first units without a gap, make more units needless. Optional.
  std::function<bool(const std::vector<UnitResult>& first)> is_enough;
  // About how many units are still to be done in all; for noticing early that they will not fit on the disk. Optional.
  std::function<int64_t()> remaining;
};

// Begins the job in folder, or goes on with it. identity: everything that shapes the result. Throws ConfigError when
// the folder holds an unfinished job of another identity.
// False on a rank that is not needed: the first rank begins the job, and others end when they do not see it begin
// within a while, or when is_over() says that it has been completed.
bool open_unit_folder(const std::filesystem::path& folder, const UnitResult& identity, const std::string& command,
                      const UnitShare& share = {}, const std::function<bool()>& is_over = {});

// "unit-0000042.arrow" in the job's folder: the name of a unit's file.
std::filesystem::path unit_path(const std::filesystem::path& folder, int64_t unit, const std::string& extension);

// Renames a unit's file to its final name, unless an earlier run has done so. Throws StorageError.
void move_unit_file(const std::filesystem::path& from, const std::filesystem::path& to);

// When its results are where they belong.
void remove_unit_folder(const std::filesystem::path& folder);

// The results in order: of all units, or of as many as are enough. Empty on all ranks but the first. What a unit throws
// stops the job; the units done are kept. Throws StorageError when the disk has too little room for the units to come.
std::vector<UnitResult> run_units(const std::filesystem::path& folder, const UnitShare& share, const UnitJob& job);

}  // namespace millrace
