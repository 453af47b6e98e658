// One training step on meta tensors: the memory it needs and the traffic it causes.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include "comm/mesh.h"
#include "config/run_config.h"
#include "plan/planned_task.h"

namespace millrace {

struct GroupTraffic {
  MeshAxis axis;
  int ranks = 1;
  Traffic traffic;
};

struct StepMemory {
  int64_t parameters = 0, gradients = 0, optimizer = 0;  // bytes, of one rank
  int64_t frozen = 0;                                    // the frozen model on the device, beside trained adapters
  int64_t offload_buffers = 0;                           // for those of its units that lie in host memory
  int64_t collective_buffers = 0;                        // at the peak
  int64_t peak = 0;                                      // with activations
  int64_t num_parameters = 0;                            // that are trained, on all ranks
  std::vector<ParameterUnit> units;                      // of the model
  std::vector<int64_t> matrix_bytes;                     // gathered of each unit's quantised matrices; empty: nothing
  std::vector<int64_t> host_bytes;                       // of each unit in host memory, 0 of others; empty: of none
  std::vector<int64_t> input_bytes;                      // in host memory, of each unit; empty: they stay on the device
  int64_t adapter_size = 0;                              // elements of adapters on all ranks; 0: the model is trained
  std::vector<GroupTraffic> traffic;                     // of one step of rank 0

  int64_t kept() const { return parameters + gradients + optimizer + frozen + offload_buffers; }
  int64_t activations() const { return peak - kept() - collective_buffers; }
  int64_t inputs_on_host() const { return std::accumulate(input_bytes.begin(), input_bytes.end(), int64_t{0}); }
};

// Runs the task's own forward, backward and update code as rank 0 of a mesh whose other ranks do not exist.
StepMemory measure_step(const RunConfig& config, const PlannedTask& task, const PlannedStep& step);

}  // namespace millrace
