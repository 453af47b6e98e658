#include "train/run_metrics.h"

#include "metrics/device_memory.h"
#include "metrics/flops.h"
#include "nn/device.h"

namespace millrace {
namespace {

// The memory of this rank's device or process, with the largest peak of all ranks.
MemoryUse largest_memory(torch::Device device, Mesh& mesh) {
  MemoryUse use = device.is_cpu() ? process_memory() : device_memory_since_last_call(device);
  const torch::Tensor peak_1 = torch::full({1}, static_cast<int64_t>(use.peak_bytes), torch::kInt64).to(device);
  mesh.world().all_reduce(peak_1, Reduce::kMax).wait();
  use.peak_bytes = static_cast<uint64_t>(peak_1.item<int64_t>());
  return use;
}

}  // namespace

MetricLoggerOptions metric_options(Task& task, const RunConfig& config, Communicator& ranks, int64_t first_step) {
  const torch::Device device = task.parameters().master().device();
  MetricLoggerOptions options;
  options.dump_folder = config.job.dump_folder;
  options.config = config.metrics;
  options.total_steps = config.training.steps;
  options.first_step = first_step;
  options.weight_name = task.weight_name();
  options.more = [&task](const StepMetrics& step) { return task.numbers_of(step); };
  options.flops_per_sample = task.flops_per_sample();
  options.peak_flops = peak_flops(device_name(device)).value_or(0);
  options.ranks = ranks.world().size;
  options.writes_files = ranks.world().rank == 0;
  options.memory = [device, &mesh = ranks.mesh()] { return largest_memory(device, mesh); };
  return options;
}

}  // namespace millrace
