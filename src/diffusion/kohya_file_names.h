// A run's LoRA files by the names that sd-scripts gives them: one for every so many steps and epochs, and the last.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "diffusion/options/flux_adapters.h"

namespace millrace {

struct KohyaFile {
  std::string name;   // without a folder
  int64_t epoch = 0;  // ss_epoch: of a step's file the epoch under way, counted from 0; of others how many are done
};

// After a step: which files to write, and then which to remove because there are newer ones.
struct KohyaFiles {
  std::vector<KohyaFile> due;
  std::vector<std::string> outdated;
};

struct KohyaMoment {
  int64_t step = 0;             // steps done
  int64_t epoch = 0;            // of the step's samples, from 0
  int64_t steps_per_epoch = 0;  // 0: unknown, and no epoch ends
  bool last = false;            // no step follows
};

// Nothing without kohya_files. The end of the last epoch has no file of its own besides the last one.
KohyaFiles kohya_files(const FluxAdapterOptions& options, const KohyaMoment& moment);

}  // namespace millrace
