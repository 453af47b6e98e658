// Prepares a raw set of captioned pictures for training: leaves out unusable and small pictures, and gives the first
// subset_size of the rest a square PNG beside their other columns. The reference's clean_cc12m.py.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "prepare/bad_sample_list.h"
#include "prepare/unit_run.h"

namespace millrace {

struct CleanOptions {
  std::string input;                  // shards or a folder of `datasets`
  std::filesystem::path output;       // a folder that datasets.load_from_disk opens
  std::filesystem::path filter_file;  // indices to leave out, one a line; empty: none
  std::string image_column;           // empty: jpg, or the only picture column
  int output_size = 256;              // pixels a side; pictures with a shorter side are left out
  int64_t subset_size = 1099776;      // keep the first ones, this many; 0: all
  int64_t samples_per_file = 1000;    // of the input
  double max_bad_fraction = 0.01;
  bool allow_damaged_shards = false;
  UnitShare share;
};

struct CleanSummary {
  int64_t rows = 0;
  int64_t seen = 0;      // samples of the input that were examined
  int64_t filtered = 0;  // of them, in the filter file
  int64_t small = 0;
  BadSampleList bad = BadSampleList::array();
  int64_t files = 0;
  bool was_complete = false;  // by an earlier run with the same options
};

// Calls progress after every unit. On ranks other than the first the summary is empty. The output and its division
// into files are the same for any number of threads and ranks.
CleanSummary clean_samples(const CleanOptions& options, const PrepareProgress& progress = {});

}  // namespace millrace
