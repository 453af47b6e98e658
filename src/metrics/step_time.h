// The duration of a step: arithmetic divided by attainable speed, with collectives overlapped where the program
// overlaps them.
//
// docs/plan.md names every assumption and compares the results with measured runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metrics/hardware.h"

namespace millrace {

// The fraction of a data sheet's figure that a good implementation reaches; one set for all makes.
struct Attainable {
  double gemm = 0.70;            // large bf16 products: H100s reach 650 to 750 of 989 TFLOP/s before they throttle
  double attention = 0.40;       // fused attention with head size 128, forward and backward together
  double memory = 0.80;          // elementwise passes, thin products and the optimizer, of the memory bandwidth
  double network = 0.80;         // collectives, of the bandwidth of the links they use
  double launch_seconds = 4e-6;  // to start one kernel: the floor for small batches
  double hop_seconds = 8e-6;     // per doubling of a group's ranks, each collective
};

// The work of one stage (a transformer block, say) on one GPU.
struct StageWork {
  std::string name;
  double gemm_flops = 0;
  double attention_flops = 0;
  double memory_bytes = 0;  // read and written by everything but large products
  int launches = 0;
  double gather_seconds = 0;    // before the stage; overlaps the previous stage
  double reduce_seconds = 0;    // after the stage; overlaps the next stage
  double blocking_seconds = 0;  // inside the stage, not overlapped: tensor parallelism
};

double total_flops(const std::vector<StageWork>& stages);
double compute_seconds(const StageWork& stage, const GpuSpec& gpu, const Attainable& attainable);

struct Timeline {
  double seconds = 0;          // from the first stage's gather to the last reduction
  double compute_seconds = 0;  // of all stages, without communication
  double blocking_seconds = 0;
  double exposed_seconds() const { return seconds - compute_seconds; }
};
// Stages run in order on one stream of kernels and one of collectives. A stage waits for its gather, which started with
// the previous stage; its reduction starts at its end and must be over when the next stage ends.
Timeline run_stages(const std::vector<StageWork>& stages, const GpuSpec& gpu, const Attainable& attainable);

// Where a group's ranks run.
struct GroupPlacement {
  int ranks = 1;
  int ranks_per_node = 1;  // of this group on one node
};
// Bytes per second that one rank of a ring over the group sends: over the fast links inside a node; between nodes, the
// network cards of all the group's ranks on a node serve its rings together.
double ring_bandwidth(const GroupPlacement& group, const GpuSpec& gpu, const Attainable& attainable);
// A collective in which each rank sends these bytes. 0 for a group of one.
double collective_seconds(double sent_bytes, const GroupPlacement& group, const GpuSpec& gpu,
                          const Attainable& attainable);

}  // namespace millrace
