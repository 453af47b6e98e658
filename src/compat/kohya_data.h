// The data sets of sd-scripts' command line, as a file that training reads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "compat/kohya_arguments.h"
#include "picture_sets/options.h"

namespace millrace {

class KohyaData {
 public:
  // Reads the data set file, or the folders of --train_data_dir; no pictures yet. In sd-scripts every rank takes a
  // batch of its own, here ranks share one: batches are world_size times as large as the file says. Throws ConfigError
  // or DataError for what is wrong with them; without any data set named everything is empty.
  KohyaData(const KohyaArguments& arguments, int64_t world_size);

  // What training reads: the data set file itself, or output_dir/dataset.json where options of the command line come to
  // it or others have no effect and are left out, folders stand for it, or there are several ranks.
  const std::string& path() const { return path_; }
  // Writes path() where it is not there by itself.
  void write() const;

  bool has_validation_split() const;  // of any data set, from its file or the command line
  int64_t batch_size() const;         // the most of all data sets, on one rank
  // Looks at every picture's header, once. Throws DataError where there are none.
  int64_t batches_per_epoch() const;

 private:
  std::string path_, root_;
  nlohmann::ordered_json document_;  // null: path() is there
  std::vector<DatasetOptions> datasets_;
  int64_t seed_ = 0, world_size_ = 1;
  mutable std::optional<int64_t> batches_per_epoch_;
};

}  // namespace millrace
