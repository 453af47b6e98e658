// The machine and scope of a plan.
#pragma once

#include "metrics/hardware.h"

namespace millrace {

struct PlanOptions {
  int gpus = 1;
  int gpus_per_node = 8;
  GpuSpec gpu;          // bf16_flops 0: its speed is not known
  bool on_cpu = false;  // plan for CPU tensors: other rounding, and `auto` is this machine's precision
  bool search = true;   // also look for the largest batch, other recompute modes and remedies
};

}  // namespace millrace
