// Do the pieces of a tensor cover it, each element exactly once?
#pragma once

#include <string>

#include "checkpoint/checkpoint_index.h"

namespace millrace {

// Throws StorageError naming `place` unless the pieces are inside the tensor, do not overlap and leave no gap. All of a
// tensor's pieces are runs, or all are boxes.
void check_cover(const std::string& place, const CheckpointTensor& tensor);

}  // namespace millrace
