// Reports on the contents of a file, as JSON and as readable text. `millrace inspect` prints one of the two.
//
// Every report has "kind" and "path"; docs/formats.md lists the other fields. Files are untrusted: nothing is executed,
// listings are capped, names are escaped when printed. Damage is a DataError or ModelError that says where.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace millrace {

using Report = nlohmann::ordered_json;

struct InspectOptions {
  std::string names;      // a shell pattern: what to list; empty: everything
  bool stats = false;     // also read the tensors' values
  int num_threads = 1;    // for stats
  size_t max_listed = 0;  // rows of samples or operators; 0: all (of samples at most 100,000)

  bool is_wanted(const std::string& name) const;
};

enum class FileKind { kWeights, kNpy, kTar, kDataSet, kArrow, kArrowDataSet, kEvents, kTrace, kCheckpoint };

// From the name, else from the first bytes, else from a folder's contents. A checkpoint is a folder with index.json,
// the index.json itself, or a folder of step-* folders. Throws DataError when it is none of these, ModelError for a
// pickle.
FileKind detect_file_kind(const std::filesystem::path& path);

// "a.tar", "a.tar.gz", "a.tgz", "a.tar.zst"
bool has_tar_name(std::string_view name);

Report inspect_weights(const std::filesystem::path& path, const InspectOptions& options);
Report inspect_npy(const std::filesystem::path& path, const InspectOptions& options);
Report inspect_tar(const std::filesystem::path& path, const InspectOptions& options);
// A folder of tar shards, found by walk_folder().
Report inspect_data_set(const std::filesystem::path& path, const InspectOptions& options);
Report inspect_arrow_file(const std::filesystem::path& path, const InspectOptions& options);
// The files of one Hugging Face `datasets` data set, in order; path: the folder or pattern that names them.
Report inspect_arrow_files(const std::string& path, const std::vector<std::filesystem::path>& files,
                           const InspectOptions& options);
// An event file, or a folder of them.
Report inspect_events(const std::filesystem::path& path, const InspectOptions& options);
// A Chrome trace as libtorch's profiler writes it.
Report inspect_trace(const std::filesystem::path& path, const InspectOptions& options);

std::string report_text(const Report& report);

}  // namespace millrace
