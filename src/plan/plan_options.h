// What a run is planned for.
#pragma once

#include "metrics/hardware.h"

namespace millrace {

struct PlanOptions {
  int gpus = 1;
  int gpus_per_node = 8;
  GpuSpec gpu;          // bf16_flops 0: its speed is not known
  bool on_cpu = false;  // plans for CPU tensors: other rounding, and `auto` is this machine's precision
  bool search = true;   // look for the largest batch, other recompute modes and remedies too
};

}  // namespace millrace
