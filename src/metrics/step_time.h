// How long a step takes: arithmetic over attainable speed, with collectives hidden behind it where the program hides
// them.
//
// docs/plan.md names every assumption and compares the outcome with measured runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "metrics/hardware.h"

namespace millrace {

// Which part of a data sheet's figure a good implementation reaches; one set for all makes.
struct Attainable {
  double gemm = 0.70;            // large bf16 products: H100s reach 650 to 750 of 989 TFLOP/s before they throttle
  double attention = 0.40;       // fused attention with head size 128, forward and backward together
  double memory = 0.80;          // elementwise passes, thin products and the optimizer, of the memory bandwidth
  double network = 0.80;         // collectives, of the bandwidth of the links they use
  double launch_seconds = 4e-6;  // to start one kernel: the floor for small batches
  double hop_seconds = 8e-6;     // per doubling of a group's ranks, each collective
};

// What one stage (a transformer block, say) asks of one GPU.
struct StageWork {
  std::string name;
  double gemm_flops = 0;
  double attention_flops = 0;
  double memory_bytes = 0;  // read and written by everything but large products
  int launches = 0;
  double gather_seconds = 0;    // before the stage; runs during the stage before it
  double reduce_seconds = 0;    // after the stage; runs during the stage behind it
  double blocking_seconds = 0;  // inside the stage, hidden by nothing: tensor parallelism
};

double total_flops(const std::vector<StageWork>& stages);
double compute_seconds(const StageWork& stage, const GpuSpec& gpu, const Attainable& attainable);

struct Timeline {
  double seconds = 0;          // from the first stage's gather to the last reduction
  double compute_seconds = 0;  // of all stages, without communication
  double blocking_seconds = 0;
  double exposed_seconds() const { return seconds - compute_seconds; }
};
// Stages in order on one stream of kernels and one of collectives: a stage waits for its gather, which started with the
// stage before; its reduction starts at its end and must be over when the next stage ends.
Timeline run_stages(const std::vector<StageWork>& stages, const GpuSpec& gpu, const Attainable& attainable);

// Where a group's ranks lie.
struct GroupPlacement {
  int ranks = 1;
  int ranks_per_node = 1;  // of this group on one node
};
// Bytes per second that one rank of a ring over the group sends: the fast links inside a node; between nodes, all
// network cards of the group's ranks on a node together serve its rings.
double ring_bandwidth(const GroupPlacement& group, const GpuSpec& gpu, const Attainable& attainable);
// A collective in which each rank sends these bytes. 0 for a group of one.
double collective_seconds(double sent_bytes, const GroupPlacement& group, const GpuSpec& gpu,
                          const Attainable& attainable);

}  // namespace millrace
