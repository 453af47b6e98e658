#include "metrics/step_time.h"

#include <algorithm>
#include <cmath>

namespace millrace {

double total_flops(const std::vector<StageWork>& stages) {
  double flops = 0;
  for (const StageWork& stage : stages) flops += stage.gemm_flops + stage.attention_flops;
  return flops;
}

double compute_seconds(const StageWork& stage, const GpuSpec& gpu, const Attainable& attainable) {
  const double busy = stage.gemm_flops / (gpu.bf16_flops * attainable.gemm) +
                      stage.attention_flops / (gpu.bf16_flops * attainable.attention) +
                      stage.memory_bytes / (gpu.memory_bandwidth * attainable.memory);
  return std::max(busy, stage.launches * attainable.launch_seconds);
}

Timeline run_stages(const std::vector<StageWork>& stages, const GpuSpec& gpu, const Attainable& attainable) {
  Timeline line;
  double now = 0, network_free = 0, reduced = 0;
  double gathered = stages.empty() ? 0 : stages.front().gather_seconds;
  network_free = gathered;
  for (size_t i = 0; i < stages.size(); ++i) {
    const double begin = std::max(now, gathered);
    if (i + 1 < stages.size() && stages[i + 1].gather_seconds > 0) {
      network_free = std::max(network_free, begin) + stages[i + 1].gather_seconds;
      gathered = network_free;
    }
    const double seconds = compute_seconds(stages[i], gpu, attainable);
    line.compute_seconds += seconds;
    line.blocking_seconds += stages[i].blocking_seconds;
    now = std::max(begin + seconds + stages[i].blocking_seconds, reduced);  // the reduction of the stage before is over
    if (stages[i].reduce_seconds > 0) {
      network_free = std::max(network_free, now) + stages[i].reduce_seconds;
      reduced = network_free;
    }
  }
  line.seconds = std::max(now, reduced);
  return line;
}

double ring_bandwidth(const GroupPlacement& group, const GpuSpec& gpu, const Attainable& attainable) {
  const bool one_node = group.ranks <= group.ranks_per_node;
  const double links =
      one_node ? gpu.intra_bandwidth : std::min(gpu.intra_bandwidth, gpu.inter_bandwidth * group.ranks_per_node);
  return links * attainable.network;
}

double collective_seconds(double sent_bytes, const GroupPlacement& group, const GpuSpec& gpu,
                          const Attainable& attainable) {
  if (group.ranks <= 1) return 0;
  return sent_bytes / ring_bandwidth(group, gpu, attainable) + std::log2(group.ranks) * attainable.hop_seconds;
}

}  // namespace millrace
