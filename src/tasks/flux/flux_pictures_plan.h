// The pictures that a step is planned for: the size and number that take most memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "diffusion/flux_run_config.h"

namespace millrace {

struct PicturesPlan {
  int64_t width = 0, height = 0;  // pixels
  int64_t batch_size = 0;         // of all ranks, where a data set file says it; 0: training.local_batch_size
  std::string place;              // of the size, for messages
  double preserved = 0;           // the part of the samples with diff_output_preservation
};

// Plans for the bucket and batch with the most pixels if the data set is folders of pictures on this machine, whose
// files' headers are read; otherwise for pictures of training.img_size, with a note if the folders are missing.
PicturesPlan plan_pictures(const FluxRunConfig& config, std::vector<std::string>& notes);

}  // namespace millrace
