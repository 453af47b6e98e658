// What a LoRA file's metadata say about the data sets of pictures that it was trained on, as sd-scripts' do.
#pragma once

#include <cstdint>

#include "adapters/kohya_metadata.h"
#include "diffusion/picture_data.h"

namespace millrace {

struct PictureFactsOptions {
  int64_t batches_per_step = 1;  // that an update sums up
  int64_t max_steps = 0;
  bool has_no_file = false;  // the data set is sd-scripts' options on its command line
};

// ss_datasets, ss_tag_frequency, ss_dataset_dirs, the numbers of pictures, batches and epochs, and the validation
// split. Without a file ss_reg_dataset_dirs and ss_bucket_info in the place of ss_datasets.
TrainingFacts picture_facts(const PictureData& data, const PictureFactsOptions& options);

}  // namespace millrace
