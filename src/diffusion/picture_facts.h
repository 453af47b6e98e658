// What a LoRA file's metadata say about the data sets of pictures that it was trained on, as sd-scripts' do.
#pragma once

#include <cstdint>

#include "adapters/kohya_metadata.h"
#include "diffusion/picture_data.h"

namespace millrace {

// ss_datasets, ss_tag_frequency, ss_dataset_dirs, the numbers of pictures, batches and epochs, and the validation
// split. batches_per_step: that an update sums up.
TrainingFacts picture_facts(const PictureData& data, int64_t batches_per_step, int64_t max_steps);

}  // namespace millrace
