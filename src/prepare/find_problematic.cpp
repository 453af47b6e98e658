#include "prepare/find_problematic.h"

#include <algorithm>

#include "base/error.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "images/strict_check.h"
#include "prepare/sample_source.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// The problem of a sample: in its text, its JSON or one of its pictures.
std::string find_problem(SampleSource& source, int64_t index, RawSample& sample) {
  try {
    source.read(index, sample);
  } catch (const DataError& error) {
    return error.what();
  }
  for (const auto& picture : sample.pictures) {
    if (!picture) continue;  // null is loaded as None
    const std::string problem = find_picture_problem(*picture, sample.name);
    if (!problem.empty()) return str("[", sample.name, "] ", problem);
  }
  return "";
}

}  // namespace

FindProblematicSummary find_problematic(const FindProblematicOptions& options, const PrepareProgress& progress) {
  const auto source = open_samples(options.input, options.share.num_threads);
  const fs::path folder = options.output.parent_path() / ("." + options.output.filename().string() + ".prepare");
  const UnitResult identity = {{"input", source->fingerprint()}, {"samples per unit", options.samples_per_unit}};
  if (!open_unit_folder(folder, identity, "prepare find-problematic", options.share)) return {};
  const int64_t total = source->count(INT64_MAX);
  if (total == 0) throw DataError(str("[", options.input, "] expected samples, got none"));
  check_shard_damage(*source, options.allow_damaged_shards);

  int64_t done = 0;
  UnitJob job;
  job.exists = [&](int64_t unit) { return unit * options.samples_per_unit < total; };
  job.work = [&](int64_t unit) {
    const int64_t begin = unit * options.samples_per_unit, end = std::min(total, begin + options.samples_per_unit);
    UnitResult result = {{"seen", end - begin}, {"bad", BadSampleList::array()}};
    RawSample sample;
    for (int64_t index = begin; index < end; ++index) {
      const std::string problem = find_problem(*source, index, sample);
      if (!problem.empty()) result["bad"].push_back(bad_sample(index, sample.name, problem));
    }
    return result;
  };
  job.on_result = [&](const UnitResult& result, bool is_new) {
    done += result["seen"].get<int64_t>();
    if (progress) progress(done, total, is_new);
  };
  FindProblematicSummary summary{total, BadSampleList::array()};
  const std::vector<UnitResult> results = run_units(folder, options.share, job);
  if (options.share.rank != 0) return {};
  std::string indices, reasons = "index\tname\tproblem\n";
  for (const UnitResult& result : results) {
    for (const auto& bad : result["bad"]) {
      const auto index = std::to_string(bad["index"].get<int64_t>());
      indices += index + "\n";
      reasons += index + "\t" + json_escape(bad["name"].get<std::string>()) + "\t" +
                 json_escape(bad["problem"].get<std::string>()) + "\n";
      summary.problems.push_back(bad);
    }
  }
  if (!options.reasons.empty()) write_file_atomically(options.reasons, reasons);
  write_file_atomically(options.output, indices);
  remove_unit_folder(folder);
  return summary;
}

}  // namespace millrace
