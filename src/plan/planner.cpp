#include "plan/planner.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <set>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "metrics/step_time.h"
#include "nn/cpu_allocator.h"
#include "parallel/configured_placement.h"
#include "plan/offload_choice.h"
#include "plan/remedies.h"
#include "plan/step_memory.h"
#include "train/run_steps.h"

namespace millrace {
namespace {

constexpr int64_t kLargestBatch = 4096;  // limit of the search

// The modes of activation_checkpoint, from most to least memory.
constexpr std::array kModes = {"none", "selective", "full"};

// CUDA's and HIP's caching allocators hand out multiples of 512 bytes.
size_t gpu_rounding(size_t bytes) {
  return (bytes + 511) / 512 * 512;
}

class Planner {
 public:
  Planner(const RunConfig& config, const PlanOptions& options, MakePlannedTask make)
      : config_(config.clone()), options_(options), make_(make), task_(make(config, options.on_cpu)) {
    const MeshDegrees degrees = mesh_degrees(config, options.gpus);
    step_.mesh = {degrees.dp_replicate, degrees.dp_shard, degrees.tp};
    step_.placement = configured_placement(config, options.on_cpu ? torch::kCPU : torch::kCUDA);
    step_.placement.device = torch::kMeta;
    if (task_->num_heads() % degrees.tp != 0) {
      throw ConfigError(str("[parallelism.tensor_parallel_degree] expected a divisor of the model's ",
                            task_->num_heads(), " heads, got ", degrees.tp));
    }
    step_.batch = config.training.local_batch_size;
    if (const int64_t given = task_->batch_of_data(step_.data_size()); given > 0) step_.batch = given;
    step_.recompute = config.activation_checkpoint.mode;
    step_.offload_inputs = config.activation_checkpoint.offload;
    step_.rounding = options.on_cpu ? counted_cpu_bytes : gpu_rounding;
    step_.microbatches = microbatches_per_step(config.training, step_.data_size());
  }

  RunPlan plan() {
    RunPlan plan = frame();
    StepMemory measured;
    for (const char* mode : kModes) {
      const bool configured = config_->activation_checkpoint.mode == mode;
      if (!configured && !options_.search) continue;
      step_.recompute = mode;
      const StepMemory memory = measure_step(*config_, *task_, step_);
      if (configured) plan.mode = plan.modes.size();
      plan.modes.push_back(memory_plan(memory));
      if (options_.search) plan.modes.back().largest_local_batch = largest_batch();
      if (configured) measured = memory;
    }
    step_.recompute = config_->activation_checkpoint.mode;
    plan.parameters = measured.num_parameters;
    plan.model = task_->describe(plan.parameters);
    add_traffic(plan, measured);
    add_offload(plan, measured);
    add_offloaded_inputs(plan, measured);
    add_work(plan, measured);
    if (!plan.fits()) {
      plan.obstacle = first_obstacle(plan);
      if (options_.search) {
        plan.remedies = find_remedies(*config_, remedy_candidates(*config_, options_, *task_, step_),
                                      [this](const RunConfig& changed) { return would_fit(changed); });
      }
    }
    plan.notes = task_->notes(step_);
    return plan;
  }

  bool fits() { return peak_with_batch(step_.batch) <= usable(); }

 private:
  // Driver, context and cuBLAS take about 1 GiB, every communicator of NCCL 0.5 GiB, fragmentation 3 %.
  int64_t reserved() const {
    const int64_t memory = options_.gpu.memory_bytes();
    const int64_t half_gib = 1 << 29;
    return options_.on_cpu ? 0 : (2 + std::max<int64_t>(1, communicators())) * half_gib + memory * 3 / 100;
  }
  // Groups of the same ranks share one: comm/mesh.h.
  int64_t communicators() const {
    const MeshShape& mesh = step_.mesh;
    std::set<int> sizes = {mesh.dp_replicate * mesh.dp_shard, mesh.size()};
    if (mesh.dp_shard > 1) sizes.insert(mesh.dp_shard);
    sizes.erase(1);
    return static_cast<int64_t>(sizes.size()) + (mesh.dp_replicate > 1 && mesh.size() > mesh.dp_replicate ? 1 : 0) +
           (mesh.tp > 1 && mesh.size() > mesh.tp ? 1 : 0);
  }
  int64_t usable() const { return options_.gpu.memory_bytes() - reserved(); }

  RunPlan frame() const {
    RunPlan plan;
    plan.gpu = std::string(options_.gpu.name);
    plan.gpus = options_.gpus;
    plan.gpus_per_node = options_.gpus_per_node;
    plan.mesh = to_string(step_.mesh);
    plan.dtype = str(step_.placement.compute_dtype == torch::kBFloat16 ? "bfloat16" : "float32", " arithmetic, ",
                     choice_text(config_->training.dtype), " weights");
    plan.local_batch = step_.batch;
    plan.microbatches = step_.microbatches;
    plan.global_batch = step_.batch * step_.microbatches * step_.data_size();
    plan.tokens_per_sample = task_->tokens_per_sample();
    plan.memory_bytes = options_.gpu.memory_bytes();
    plan.reserved_bytes = reserved();
    return plan;
  }

  int64_t peak_with_batch(int64_t batch) const {
    PlannedStep step = step_;
    step.batch = batch;
    return total_peak(measure_step(*config_, *task_, step), task_->frozen_networks(step));
  }

  // On a CPU, host memory is the memory that is planned.
  int64_t total_peak(const StepMemory& memory, const FrozenNetworks& frozen) const {
    const int64_t activations = memory.peak - memory.kept() + (options_.on_cpu ? memory.inputs_on_host() : 0);
    return frozen.weight_bytes + memory.kept() + std::max(activations, frozen.activation_bytes);
  }

  MemoryPlan memory_plan(const StepMemory& memory) const {
    const FrozenNetworks frozen = task_->frozen_networks(step_);
    MemoryPlan plan;
    plan.recompute = step_.recompute;
    plan.parts = {{"parameters", memory.parameters},
                  {"gradients", memory.gradients},
                  {"optimizer", memory.optimizer},
                  {"encoders", frozen.weight_bytes},
                  {"collective buffers", memory.collective_buffers},
                  {"activations", 0}};
    if (memory.offload_buffers > 0) plan.parts.emplace(plan.parts.begin(), "offload buffers", memory.offload_buffers);
    if (memory.frozen > 0) plan.parts.emplace(plan.parts.begin(), "frozen weights", memory.frozen);
    plan.peak_bytes = total_peak(memory, frozen);
    int64_t others = 0;
    for (const auto& [part, bytes] : plan.parts) others += bytes;
    plan.parts.back().second = plan.peak_bytes - others;
    return plan;
  }

  // Memory grows almost linearly with the batch: extrapolate from two points, then correct.
  int64_t largest_batch() {
    const int64_t limit = usable(), first = peak_with_batch(1);
    if (first > limit) return 0;
    const double slope = static_cast<double>(peak_with_batch(17) - first) / 16;
    int64_t guess =
        std::clamp<int64_t>(1 + static_cast<int64_t>(static_cast<double>(limit - first) / slope), 1, kLargestBatch);
    while (guess > 1 && peak_with_batch(guess) > limit) --guess;
    while (guess < kLargestBatch && peak_with_batch(guess + 1) <= limit) ++guess;
    return guess;
  }

  GroupPlacement placement(MeshAxis axis) const {
    // GPUs connected by the maker's fast links count as one node.
    const int node = std::max(options_.gpus_per_node, options_.gpu.fast_domain > 8 ? options_.gpu.fast_domain : 0);
    const MeshShape& mesh = step_.mesh;
    const int distance = axis == MeshAxis::kReplicate ? mesh.dp_shard * mesh.tp
                         : axis == MeshAxis::kTp      ? 1
                         : axis == MeshAxis::kWorld   ? 1
                                                      : mesh.tp;
    const int ranks = axis == MeshAxis::kReplicate ? mesh.dp_replicate
                      : axis == MeshAxis::kShard   ? mesh.dp_shard
                      : axis == MeshAxis::kTp      ? mesh.tp
                      : axis == MeshAxis::kData    ? mesh.dp_replicate * mesh.dp_shard
                                                   : mesh.size();
    return {ranks, std::clamp(node / distance, 1, ranks)};
  }

  // A step of many microbatches: the first two determine the increment of each further one.
  void add_traffic(RunPlan& plan, const StepMemory& measured) {
    std::map<std::pair<MeshAxis, int>, TrafficCount> first, second;
    const auto collect = [](const StepMemory& memory, auto& into) {
      for (const GroupTraffic& group : memory.traffic) {
        for (int kind = 0; kind < kCollectives; ++kind) {
          into[{group.axis, kind}] = group.traffic[static_cast<Collective>(kind)];
        }
      }
    };
    collect(measured, second);
    first = second;
    if (step_.microbatches > 1) {
      PlannedStep one = step_;
      one.microbatches = 1;
      first.clear();
      collect(measure_step(*config_, *task_, one), first);
    }
    for (const auto& [key, two] : second) {
      const TrafficCount one = first[key];
      const int64_t more = std::max<int64_t>(step_.microbatches - 2, 0);
      const auto extrapolate = [&](int64_t last, int64_t before) { return last + more * (last - before); };
      const GroupPlacement group = placement(key.first);
      AxisTraffic line;
      line.axis = name_of(key.first);
      line.ranks = group.ranks;
      line.collective = name_of(static_cast<Collective>(key.second));
      line.calls = extrapolate(two.calls, one.calls);
      line.sent_bytes = extrapolate(two.sent_bytes, one.sent_bytes);
      if (options_.gpu.bf16_flops > 0) line.bandwidth = ring_bandwidth(group, options_.gpu, attainable_);
      if (line.calls > 0 && group.ranks > 1) plan.traffic.push_back(line);
    }
  }

  // Which units a microbatch copies to the device. The two that a pass ends with are there when the next one begins.
  static std::vector<bool> fetches(const StepMemory& measured, bool backward) {
    std::vector<bool> copied(measured.units.size(), false);
    int seen = 0;
    for (size_t i = 0; i < measured.host_bytes.size(); ++i) {
      const size_t unit = backward ? copied.size() - 1 - i : i;
      if (measured.host_bytes[unit] > 0) copied[unit] = ++seen > 2;
    }
    return copied;
  }

  void add_offload(RunPlan& plan, const StepMemory& measured) const {
    if (measured.host_bytes.empty()) return;
    OffloadPlan offload;
    offload.blocks = std::stoll(offload_setting(*config_));
    offload.of_blocks = task_->frozen_blocks();
    const std::vector<bool> forward = fetches(measured, false), backward = fetches(measured, true);
    for (size_t unit = 0; unit < measured.host_bytes.size(); ++unit) {
      const int64_t bytes = measured.host_bytes[unit];
      offload.host_bytes += bytes;
      offload.fetched_bytes += bytes * (forward[unit] + backward[unit]) * step_.microbatches;
    }
    offload.bandwidth = host_bandwidth();
    plan.offload = offload;
  }

  void add_offloaded_inputs(RunPlan& plan, const StepMemory& measured) const {
    if (measured.input_bytes.empty()) return;
    OffloadedInputsPlan inputs;
    inputs.blocks = std::count_if(measured.input_bytes.begin(), measured.input_bytes.end(),
                                  [](int64_t bytes) { return bytes > 0; });
    inputs.host_bytes = measured.inputs_on_host();
    inputs.copied_bytes = 2 * inputs.host_bytes * step_.microbatches;
    inputs.bandwidth = host_bandwidth();
    plan.offloaded_inputs = inputs;
  }

  // Bytes per second between host memory and the GPU.
  double host_bandwidth() const { return options_.gpu.host_bandwidth * attainable_.network; }

  // The copies of each unit and of its inputs from host memory, before its stage, and of its inputs there, after it.
  void add_copies(std::vector<StageWork>& stages, const StepMemory& measured) const {
    const double bandwidth = host_bandwidth();
    if (bandwidth <= 0) return;
    const size_t units = measured.units.size();
    for (size_t unit = 0; unit < measured.input_bytes.size(); ++unit) {
      const double seconds = static_cast<double>(measured.input_bytes[unit]) / bandwidth;
      stages[unit].reduce_seconds += seconds;
      stages[2 * units - 1 - unit].gather_seconds += seconds;
    }
    if (measured.host_bytes.empty()) return;
    const std::vector<bool> forward = fetches(measured, false), backward = fetches(measured, true);
    for (size_t unit = 0; unit < units; ++unit) {
      const double seconds = static_cast<double>(measured.host_bytes[unit]) / bandwidth;
      if (forward[unit]) stages[unit].gather_seconds += seconds;
      if (backward[unit]) stages[2 * units - 1 - unit].gather_seconds += seconds;
    }
  }

  void add_work(RunPlan& plan, const StepMemory& measured) {
    const FrozenNetworks frozen = task_->frozen_networks(step_);
    plan.model_flops_per_sample = task_->model_flops_per_sample();
    std::vector<StageWork> stages = task_->forward_stages(step_, measured.units);
    std::vector<StageWork> backward = task_->backward_stages(step_, measured.units);
    stages.insert(stages.end(), backward.begin(), backward.end());
    // Includes work that tp ranks duplicate (embedders, for example).
    plan.hardware_flops_per_sample =
        total_flops(stages) * step_.mesh.tp / static_cast<double>(step_.batch) + frozen.flops_per_sample;
    if (options_.gpu.bf16_flops <= 0) return;

    add_collectives(plan, stages, measured);
    add_copies(stages, measured);
    const Timeline last = run_stages(stages, options_.gpu, attainable_);
    if (!step_.placement.reduce_every_microbatch) {
      for (size_t i = measured.units.size(); i < stages.size(); ++i) stages[i].reduce_seconds = 0;
    }
    const Timeline before = run_stages(stages, options_.gpu, attainable_);  // microbatches before the last

    TimePlan time;
    const auto others = static_cast<double>(step_.microbatches - 1);
    const auto count = static_cast<double>(step_.microbatches);
    time.compute_seconds = count * last.compute_seconds;
    time.tensor_parallel_seconds = count * last.blocking_seconds;
    time.waiting_seconds = last.exposed_seconds() + others * before.exposed_seconds() - time.tensor_parallel_seconds;
    // Reads masters, gradients (twice, for their norm) and moments; writes all of them and the model's copy.
    const auto kept = static_cast<double>(measured.parameters + measured.gradients + measured.optimizer);
    time.optimizer_seconds = 2 * kept / (options_.gpu.memory_bandwidth * attainable_.memory);
    StageWork encoding;
    encoding.gemm_flops = frozen.flops_per_sample * static_cast<double>(step_.batch) * count;
    time.encoder_seconds = compute_seconds(encoding, options_.gpu, attainable_);
    time.step_seconds = time.compute_seconds + time.tensor_parallel_seconds + time.waiting_seconds +
                        time.optimizer_seconds + time.encoder_seconds;
    const double samples_per_gpu = static_cast<double>(plan.global_batch) / options_.gpus;
    time.samples_per_second_per_gpu = samples_per_gpu / time.step_seconds;
    time.mfu = time.samples_per_second_per_gpu * plan.model_flops_per_sample / options_.gpu.bf16_flops;
    time.hfu = time.samples_per_second_per_gpu * plan.hardware_flops_per_sample / options_.gpu.bf16_flops;
    plan.time = time;
  }

  // Read and written per gradient beside the product that makes it: zeros before it and the sum with them; on several
  // data ranks also the conversion to the type that is sent.
  double gradient_bytes() const {
    const auto own = static_cast<double>(step_.element_size());
    const double sent = step_.placement.reduce_dtype == torch::kBFloat16 ? 2 : 4;
    return 2 * own + (step_.data_size() > 1 && sent != own ? own + sent : 0);
  }

  // Each unit's gather before its stage and reduction after it; tensor parallelism's sums, as recorded, in all stages.
  void add_collectives(const RunPlan& plan, std::vector<StageWork>& stages, const StepMemory& measured) {
    const GroupPlacement shard = placement(MeshAxis::kShard), replicate = placement(MeshAxis::kReplicate);
    const auto share = [](int n) { return static_cast<double>(n - 1) / n; };
    const double reduce_size = step_.placement.reduce_dtype == torch::kBFloat16 ? 2 : 4;
    const auto reduce_seconds = [&](double elements) {
      return collective_seconds(elements * reduce_size * share(shard.ranks), shard, options_.gpu, attainable_) +
             collective_seconds(2 * elements / shard.ranks * reduce_size * share(replicate.ranks), replicate,
                                options_.gpu, attainable_);
    };
    const size_t units = measured.units.size();
    double blocking = 0;
    for (const AxisTraffic& line : plan.traffic) {
      if (line.axis != name_of(MeshAxis::kTp)) continue;
      const GroupPlacement tp = placement(MeshAxis::kTp);
      blocking += collective_seconds(static_cast<double>(line.sent_bytes), tp, options_.gpu, attainable_) +
                  static_cast<double>(line.calls - 1) * collective_seconds(0, tp, options_.gpu, attainable_);
    }
    const double blocking_per_stage =
        blocking / static_cast<double>(step_.microbatches) / static_cast<double>(stages.size());
    for (size_t i = 0; i < stages.size(); ++i) {
      const bool backward = i >= units;
      const size_t number = backward ? 2 * units - 1 - i : i;
      const ParameterUnit& unit = measured.units[number];
      const auto elements = static_cast<double>(unit.size);
      // By default the last unit stays gathered for the backward pass, which begins with it.
      const bool stays =
          step_.placement.reshard == Reshard::kNever || (step_.placement.reshard == Reshard::kDefault && i == units);
      const bool gathered = !backward || !stays;
      if (gathered) {
        stages[i].gather_seconds =
            collective_seconds(elements * static_cast<double>(step_.element_size()) * share(shard.ranks), shard,
                               options_.gpu, attainable_);
        const int64_t stored = measured.matrix_bytes.empty() ? 0 : measured.matrix_bytes[number];
        if (stored > 0) {
          stages[i].gather_seconds +=
              collective_seconds(static_cast<double>(stored) * share(shard.ranks), shard, options_.gpu, attainable_);
        }
      }
      if (backward && measured.adapter_size == 0) {
        stages[i].reduce_seconds = reduce_seconds(elements);
        stages[i].memory_bytes += elements * gradient_bytes();
      }
      stages[i].blocking_seconds = blocking_per_stage;
    }
    if (measured.adapter_size == 0) return;
    // Adapters are gathered before everything else and reduced after it.
    const auto elements = static_cast<double>(measured.adapter_size);
    stages.front().gather_seconds += collective_seconds(
        elements * static_cast<double>(step_.element_size()) * share(shard.ranks), shard, options_.gpu, attainable_);
    stages.back().reduce_seconds = reduce_seconds(elements);
  }

  // With as many blocks in host memory as there are, where that is left to the plan.
  bool would_fit(const RunConfig& changed) const {
    PlanOptions options = options_;
    options.search = false;
    const std::unique_ptr<RunConfig> most = changed.clone();
    if (offload_setting(changed) == "auto") set_offload(*most, str(task_->frozen_blocks()));
    try {
      return Planner(*most, options, make_).fits();
    } catch (const ConfigError&) {
      return false;  // the options are incompatible
    }
  }

  std::unique_ptr<RunConfig> config_;
  PlanOptions options_;
  MakePlannedTask make_;
  std::unique_ptr<PlannedTask> task_;
  PlannedStep step_;
  Attainable attainable_;
};

}  // namespace

RunPlan plan_run(const RunConfig& config, const PlanOptions& options, MakePlannedTask make) {
  return Planner(*settle_offload(config, options, make), options, make).plan();
}

bool run_fits(const RunConfig& config, const PlanOptions& options, MakePlannedTask make) {
  return Planner(config, options, make).fits();
}

std::vector<RunPlan> sweep_run(const RunConfig& config, const PlanOptions& options, MakePlannedTask make) {
  PlanOptions quick = options;
  quick.search = false;
  std::vector<RunPlan> plans;
  std::vector<std::pair<int, int>> meshes;
  for (int tp = 1; tp <= std::min(options.gpus, options.gpus_per_node); tp *= 2) {
    for (int replicate = 1; replicate * tp <= options.gpus; ++replicate) {
      if (options.gpus % (replicate * tp) == 0) meshes.emplace_back(replicate, tp);
    }
  }
  const std::unique_ptr<RunConfig> changed = config.clone();
  for (const auto& [replicate, tp] : meshes) {
    changed->parallelism.data_parallel_replicate_degree = replicate;
    changed->parallelism.tensor_parallel_degree = tp;
    changed->parallelism.data_parallel_shard_degree = -1;
    for (const char* mode : kModes) {
      changed->activation_checkpoint.mode = mode;
      try {
        plans.push_back(plan_run(*changed, quick, make));
      } catch (const ConfigError&) {
        continue;  // this batch does not divide over that mesh
      }
    }
  }
  if (plans.empty()) plans.push_back(plan_run(config, quick, make));  // throws the reason
  sort_sweep(plans);
  return plans;
}

}  // namespace millrace
