// A rank's share of one group of a split weight (tensor_split.h). Where the ranks do not divide a group (an odd
// vocabulary), shares differ by one; what needs equal ones (whole heads) is the model's to check.
#pragma once

#include "parallel/tensor_split.h"

namespace millrace {

struct TensorShare {
  int64_t begin = 0, size = 0;  // within the group
};

inline TensorShare share_of(const TensorPart& part, int64_t group) {
  const int64_t begin = group * part.index / part.parts;
  return {begin, group * (part.index + 1) / part.parts - begin};
}

}  // namespace millrace
