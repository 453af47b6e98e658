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
};

// Of a data set of pictures in folders that is on this machine: the bucket and batch with the most pixels, from the
// files' headers. Else pictures of training.img_size, with a note where the data set is not there.
PicturesPlan plan_pictures(const FluxRunConfig& config, std::vector<std::string>& notes);

}  // namespace millrace
