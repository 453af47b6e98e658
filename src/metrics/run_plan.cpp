#include "metrics/run_plan.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/log.h"
#include "base/text.h"

namespace millrace {
namespace {

using nlohmann::ordered_json;

std::string padded(const std::string& text, size_t width) {
  return text.size() < width ? text + std::string(width - text.size(), ' ') : text;
}

std::string right(const std::string& text, size_t width) {
  return text.size() < width ? std::string(width - text.size(), ' ') + text : text;
}

std::string gib(int64_t bytes) {
  return format_double("%.2f GiB", static_cast<double>(bytes) / (1 << 30));
}

std::string amount(int64_t bytes) {
  return bytes < (int64_t{1} << 29) ? human_bytes(static_cast<uint64_t>(bytes)) : gib(bytes);
}

std::string percent(double part) {
  return format_double("%.1f %%", 100 * part);
}

void add_memory(const RunPlan& plan, std::ostringstream& out) {
  out << "peak memory per rank during a step\n";
  for (const auto& [name, bytes] : plan.memory().parts) {
    out << "  " << padded(name, 28) << right(amount(bytes), 12) << "\n";
  }
  out << "  " << padded("peak", 28) << right(amount(plan.memory().peak_bytes), 12) << "  of "
      << gib(plan.usable_bytes()) << " usable (" << gib(plan.memory_bytes) << " less " << gib(plan.reserved_bytes)
      << " for driver, libraries and fragmentation)\n\n";
  out << "recompute     activations        peak   largest local batch\n";
  for (size_t i = 0; i < plan.modes.size(); ++i) {
    const MemoryPlan& mode = plan.modes[i];
    out << (i == plan.mode ? "* " : "  ") << padded(mode.recompute, 10) << right(amount(mode.parts.back().second), 13)
        << right(amount(mode.peak_bytes), 12)
        << right(mode.largest_local_batch > 0 ? str(mode.largest_local_batch) : "none", 22) << "\n";
  }
}

void add_traffic(const RunPlan& plan, std::ostringstream& out) {
  out << "\nsent per rank and step\n";
  if (plan.traffic.empty()) out << "  nothing: one rank\n";
  for (const AxisTraffic& line : plan.traffic) {
    out << "  " << padded(str(line.axis, " (", line.ranks, " ranks)"), 26) << padded(line.collective, 16)
        << right(amount(line.sent_bytes), 12) << right(str(line.calls), 7) << " calls";
    if (line.bandwidth > 0) out << format_double("   at %.0f GB/s", line.bandwidth / 1e9);
    out << "\n";
  }
}

void add_host_memory(const RunPlan& plan, std::ostringstream& out) {
  const auto add = [&](const std::string& what, int64_t bytes, const char* copied, int64_t copied_bytes,
                       double bandwidth) {
    out << "  " << padded(what, 28) << right(amount(bytes), 12) << "\n  " << padded(copied, 28)
        << right(amount(copied_bytes), 12);
    if (bandwidth > 0) {
      out << format_double("   at %.0f GB/s", bandwidth / 1e9)
          << format_double(": %.1f s", static_cast<double>(copied_bytes) / bandwidth) << " beside the computation";
    }
    out << "\n";
  };
  if (plan.offload || plan.offloaded_inputs) out << "\nin host memory per rank\n";
  if (plan.offload) {
    const OffloadPlan& offload = *plan.offload;
    add(str(offload.blocks, " of ", offload.of_blocks, " frozen blocks"), offload.host_bytes, "fetched per step",
        offload.fetched_bytes, offload.bandwidth);
  }
  if (plan.offloaded_inputs) {
    const OffloadedInputsPlan& inputs = *plan.offloaded_inputs;
    add(str("inputs of ", inputs.blocks, " blocks"), inputs.host_bytes, "copied out and in per step",
        inputs.copied_bytes, inputs.bandwidth);
  }
}

void add_time(const RunPlan& plan, std::ostringstream& out) {
  out << "\nwork per sample\n  " << padded("model, forward and backward", 40)
      << format_double("%8.2f TFLOP\n", plan.model_flops_per_sample / 1e12) << "  "
      << padded("with recomputation and encoders", 40)
      << format_double("%8.2f TFLOP\n", plan.hardware_flops_per_sample / 1e12);
  if (!plan.time) {
    out << "\nno time estimate: the speed of this hardware is not in the table\n";
    return;
  }
  const TimePlan& time = *plan.time;
  const auto row = [&](const char* name, double seconds) {
    out << "  " << padded(name, 40) << format_double("%8.1f ms\n", 1000 * seconds);
  };
  out << "\nexpected time of a step\n";
  row("computing", time.compute_seconds);
  if (time.tensor_parallel_seconds > 0) row("sums of tensor parallelism", time.tensor_parallel_seconds);
  row(plan.offload            ? "waiting for blocks"
      : plan.offloaded_inputs ? "waiting for copies"
                              : "waiting for gathers and reductions",
      time.waiting_seconds);
  row("optimizer", time.optimizer_seconds);
  row("encoders", time.encoder_seconds);
  row("step", time.step_seconds);
  out << "  " << padded("samples per second", 40) << format_double("%8.1f", time.samples_per_second_per_gpu * plan.gpus)
      << format_double("  (%.2f per GPU)\n", time.samples_per_second_per_gpu) << "  "
      << padded("MFU (with recomputation and encoders)", 40) << right(percent(time.mfu), 8) << "  ("
      << percent(time.hfu) << ")\n";
}

ordered_json memory_json(const MemoryPlan& memory) {
  ordered_json parts;
  for (const auto& [name, bytes] : memory.parts) parts[name] = bytes;
  return {{"recompute", memory.recompute},
          {"parts", parts},
          {"peak_bytes", memory.peak_bytes},
          {"largest_local_batch", memory.largest_local_batch}};
}

ordered_json plan_json(const RunPlan& plan) {
  ordered_json json = {{"model", plan.model},
                       {"gpu", plan.gpu},
                       {"gpus", plan.gpus},
                       {"gpus_per_node", plan.gpus_per_node},
                       {"mesh", plan.mesh},
                       {"dtype", plan.dtype},
                       {"local_batch_size", plan.local_batch},
                       {"microbatches", plan.microbatches},
                       {"global_batch_size", plan.global_batch},
                       {"tokens_per_sample", plan.tokens_per_sample},
                       {"parameters", plan.parameters},
                       {"model_flops_per_sample", plan.model_flops_per_sample},
                       {"hardware_flops_per_sample", plan.hardware_flops_per_sample},
                       {"memory_bytes", plan.memory_bytes},
                       {"usable_bytes", plan.usable_bytes()},
                       {"fits", plan.fits()},
                       {"memory", memory_json(plan.memory())},
                       {"recompute_modes", ordered_json::array()},
                       {"traffic", ordered_json::array()}};
  for (const MemoryPlan& mode : plan.modes) json["recompute_modes"].push_back(memory_json(mode));
  for (const AxisTraffic& line : plan.traffic) {
    json["traffic"].push_back({{"axis", line.axis},
                               {"ranks", line.ranks},
                               {"collective", line.collective},
                               {"calls", line.calls},
                               {"sent_bytes", line.sent_bytes},
                               {"bandwidth", line.bandwidth}});
  }
  if (plan.offload) {
    json["offload"] = {{"blocks", plan.offload->blocks},
                       {"of_blocks", plan.offload->of_blocks},
                       {"host_bytes", plan.offload->host_bytes},
                       {"fetched_bytes", plan.offload->fetched_bytes},
                       {"bandwidth", plan.offload->bandwidth}};
  } else {
    json["offload"] = nullptr;
  }
  if (plan.offloaded_inputs) {
    json["offloaded_inputs"] = {{"blocks", plan.offloaded_inputs->blocks},
                                {"host_bytes", plan.offloaded_inputs->host_bytes},
                                {"copied_bytes", plan.offloaded_inputs->copied_bytes},
                                {"bandwidth", plan.offloaded_inputs->bandwidth}};
  } else {
    json["offloaded_inputs"] = nullptr;
  }
  if (plan.time) {
    const TimePlan& time = *plan.time;
    json["time"] = {{"step_seconds", time.step_seconds},
                    {"compute_seconds", time.compute_seconds},
                    {"tensor_parallel_seconds", time.tensor_parallel_seconds},
                    {"waiting_seconds", time.waiting_seconds},
                    {"optimizer_seconds", time.optimizer_seconds},
                    {"encoder_seconds", time.encoder_seconds},
                    {"samples_per_second_per_gpu", time.samples_per_second_per_gpu},
                    {"mfu", time.mfu},
                    {"hfu", time.hfu}};
  } else {
    json["time"] = nullptr;
  }
  json["obstacle"] = plan.obstacle;
  json["remedies"] = plan.remedies;
  json["notes"] = plan.notes;
  return json;
}

}  // namespace

std::string to_text(const RunPlan& plan) {
  std::ostringstream out;
  out << plan.model << "\n"
      << plan.gpus << " x " << plan.gpu << ", " << plan.gpus_per_node << " per node: " << plan.mesh << ", "
      << plan.dtype << "\n"
      << "batch " << plan.global_batch << " = " << plan.local_batch << " per data rank";
  if (plan.microbatches > 1) out << " x " << plan.microbatches << " microbatches";
  out << ", " << plan.tokens_per_sample << " tokens per sample\n\n";
  add_memory(plan, out);
  add_traffic(plan, out);
  add_host_memory(plan, out);
  add_time(plan, out);
  out << "\n";
  if (plan.obstacle.empty()) {
    out << "fits\n";
  } else {
    out << "does not fit: " << plan.obstacle << "\n";
    for (const std::string& remedy : plan.remedies) out << "  try " << remedy << "\n";
    if (plan.remedies.empty()) out << "  no option tried makes it fit: more GPUs, or GPUs with more memory\n";
  }
  for (const std::string& note : plan.notes) out << "note: " << note << "\n";
  return out.str();
}

std::string to_json(const RunPlan& plan) {
  return plan_json(plan).dump(2) + "\n";
}

void sort_sweep(std::vector<RunPlan>& plans) {
  std::stable_sort(plans.begin(), plans.end(), [](const RunPlan& a, const RunPlan& b) {
    if (a.fits() != b.fits()) return a.fits();
    const auto speed = [](const RunPlan& plan) { return plan.time ? plan.time->samples_per_second_per_gpu : 0.0; };
    return speed(a) > speed(b);
  });
}

std::string batches_text(const std::vector<RunPlan>& plans) {
  std::ostringstream out;
  if (plans.empty()) return "";
  const RunPlan& first = plans.front();
  out << first.model << "\n"
      << first.gpu << ", recompute " << first.memory().recompute << ", " << first.tokens_per_sample
      << " tokens per sample, " << gib(first.usable_bytes()) << " usable\n\n"
      << "local batch  activations        peak  fits\n";
  for (const RunPlan& plan : plans) {
    out << right(str(plan.local_batch), 11) << right(amount(plan.memory().parts.back().second), 13)
        << right(amount(plan.memory().peak_bytes), 12) << (plan.fits() ? "   yes" : "    no") << "\n";
  }
  return out.str();
}

std::string sweep_text(const std::vector<RunPlan>& plans) {
  std::ostringstream out;
  out << "mesh                                    recompute  local batch        peak  fits  samples/s    MFU  "
         "sent/step\n";
  for (const RunPlan& plan : plans) {
    int64_t sent = 0;
    for (const AxisTraffic& line : plan.traffic) sent += line.sent_bytes;
    out << padded(plan.mesh, 40) << padded(plan.memory().recompute, 11) << right(str(plan.local_batch), 11)
        << right(amount(plan.memory().peak_bytes), 12) << (plan.fits() ? "   yes" : "    no");
    if (plan.time) {
      out << format_double("%11.1f", plan.time->samples_per_second_per_gpu * plan.gpus)
          << format_double("%6.1f%%", 100 * plan.time->mfu);
    } else {
      out << "          -      -";
    }
    out << right(amount(sent), 11) << "\n";
  }
  return out.str();
}

std::string plans_json(const std::vector<RunPlan>& plans) {
  ordered_json json = ordered_json::array();
  for (const RunPlan& plan : plans) json.push_back(plan_json(plan));
  return json.dump(2) + "\n";
}

}  // namespace millrace
