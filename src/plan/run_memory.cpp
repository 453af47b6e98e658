#include "plan/run_memory.h"

#include "base/log.h"
#include "base/text.h"
#include "plan/planner.h"

namespace millrace {
namespace {

std::string size_of(int64_t bytes) {
  return human_bytes(static_cast<uint64_t>(bytes));
}

std::string line_of(const RunPlan& plan) {
  std::vector<std::string> parts;
  for (const auto& [name, bytes] : plan.memory().parts) {
    if (bytes > 0) parts.push_back(str(name, " ", size_of(bytes)));
  }
  return str("planned memory of a step: ", size_of(plan.memory().peak_bytes), " (", join(parts, ", "), ") of ",
             size_of(plan.usable_bytes()), " usable");
}

}  // namespace

std::string planned_memory(const RunConfig& config, const PlanOptions& options, MakePlannedTask make) {
  PlanOptions quick = options;
  quick.search = false;
  const RunPlan plan = plan_run(config, quick, make);
  return line_of(plan) + (plan.fits() ? "" : str("; it will probably not fit: ", plan.obstacle));
}

std::string out_of_memory_advice(const RunConfig& config, const PlanOptions& options, MakePlannedTask make) {
  PlanOptions machine = options;
  RunPlan plan = plan_run(config, machine, make);
  const std::string line = line_of(plan);
  if (plan.fits()) {  // other programs, or what a plan does not know of, took the rest
    constexpr double kLess = 0.9;
    const auto reserved = static_cast<double>(plan.reserved_bytes);
    machine.gpu.memory_gib = (kLess * static_cast<double>(plan.memory().peak_bytes) + reserved) / (1 << 30);
    plan = plan_run(config, machine, make);
  }
  if (plan.remedies.empty()) return line;
  return str(line, " (try ", plan.remedies.front(), ")");
}

}  // namespace millrace
