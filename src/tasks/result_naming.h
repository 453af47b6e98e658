// Names of the folders in result_folders.h.
#pragma once

namespace millrace {

enum class ResultNaming {
  kNone,
  kEpochs,  // epoch_0, epoch_1: of the checkpoints at the ends of epochs
  kSteps,   // step_100, step_200: of every checkpoint
};

}  // namespace millrace
