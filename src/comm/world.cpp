#include "comm/world.h"

#include <unistd.h>

#include <charconv>
#include <cstdlib>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "comm/slurm_lists.h"

namespace millrace {
namespace {

// The ports of jobs: below the kernel's range for outgoing connections (32768 on Linux), above the usual
// services.
constexpr int kFirstJobPort = 15000;
constexpr int kJobPorts = 16000;
constexpr int kPortsPerJob = 16;

std::string this_host() {
  char name[256] = "";
  if (::gethostname(name, sizeof name - 1) != 0) return "unknown";
  return name;
}

class Variables {
 public:
  explicit Variables(const Environment& environment) : environment_(environment) {}

  bool has(const char* name) const { return !text(name).empty(); }
  std::string text(const char* name) const {
    const char* value = environment_(name);
    return value == nullptr ? "" : std::string(trim(value));
  }
  // A whole number of at least `at_least`; the variable must be set.
  int number(const char* name, int at_least) const {
    const std::string value = text(name);
    int64_t result = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), result);
    if (value.empty()) throw ConfigError(str("[", name, "] expected a number from the launcher, got nothing"));
    if (error != std::errc() || end != value.data() + value.size() || result < at_least || result > 1'000'000'000) {
      throw ConfigError(str("[", name, "] expected a whole number of at least ", at_least, ", got ", value));
    }
    return static_cast<int>(result);
  }
  int port(const char* name) const {
    const int value = number(name, 1);
    if (value > 65535) throw ConfigError(str("[", name, "] expected a port below 65536, got ", value));
    return value;
  }

 private:
  const Environment& environment_;
};

void check_below(const char* name, int value, const char* limit_name, int limit) {
  if (value >= limit) {
    throw ConfigError(str("[", name, "] expected a number below ", limit_name, " (", limit, "), got ", value));
  }
}

World torchrun_world(const Variables& variables) {
  World world;
  world.launcher = variables.has("MILLRACE_LAUNCH_ID") ? "launch" : "torchrun";
  world.rank = variables.number("RANK", 0);
  world.size = variables.number("WORLD_SIZE", 1);
  world.local_rank = variables.number("LOCAL_RANK", 0);
  world.local_size = variables.number("LOCAL_WORLD_SIZE", 1);
  check_below("RANK", world.rank, "WORLD_SIZE", world.size);
  check_below("LOCAL_RANK", world.local_rank, "LOCAL_WORLD_SIZE", world.local_size);
  if (world.local_size > world.size) {
    throw ConfigError(str("[LOCAL_WORLD_SIZE] expected at most WORLD_SIZE (", world.size, "), got ", world.local_size));
  }
  if (world.size > 1 || variables.has("MASTER_ADDR")) {
    world.master_host = variables.text("MASTER_ADDR");
    if (world.master_host.empty()) throw ConfigError("[MASTER_ADDR] expected the host of rank 0, got nothing");
    world.master_port = variables.port("MASTER_PORT");
  }
  world.agent_store = to_lower(variables.text("TORCHELASTIC_USE_AGENT_STORE")) == "true";
  world.job_id = variables.text("MILLRACE_LAUNCH_ID");
  if (world.job_id.empty() && variables.has("TORCHELASTIC_RUN_ID")) {
    world.job_id = variables.text("TORCHELASTIC_RUN_ID") + "/" + variables.text("TORCHELASTIC_RESTART_COUNT");
  }
  return world;
}

// SLURM_STEP_ID is set in a step of srun; a batch script itself has none (or one of the reserved numbers).
bool is_slurm_step(const Variables& variables) {
  if (!variables.has("SLURM_PROCID") || !variables.has("SLURM_STEP_ID")) return false;
  const std::string step = variables.text("SLURM_STEP_ID");
  return step.size() < 10;
}

int slurm_local_size(const Variables& variables, int size) {
  const char* name = variables.has("SLURM_STEP_TASKS_PER_NODE") ? "SLURM_STEP_TASKS_PER_NODE" : "SLURM_TASKS_PER_NODE";
  if (!variables.has(name)) {
    if (size == 1) return 1;
    throw ConfigError(str("[", name, "] expected the ranks on each node, got nothing"));
  }
  const std::vector<int> counts = expand_task_counts(variables.text(name));
  const int node = variables.number("SLURM_NODEID", 0);
  check_below("SLURM_NODEID", node, name, static_cast<int>(counts.size()));
  return counts[static_cast<size_t>(node)];
}

World slurm_world(const Variables& variables) {
  World world;
  world.launcher = "slurm";
  world.rank = variables.number("SLURM_PROCID", 0);
  const char* size_name = variables.has("SLURM_STEP_NUM_TASKS") ? "SLURM_STEP_NUM_TASKS" : "SLURM_NTASKS";
  world.size = variables.number(size_name, 1);
  check_below("SLURM_PROCID", world.rank, size_name, world.size);
  if (world.size == 1) {
    world.rank = 0;
    return world;
  }
  world.local_rank = variables.number("SLURM_LOCALID", 0);
  world.local_size = slurm_local_size(variables, world.size);
  check_below("SLURM_LOCALID", world.local_rank, "the ranks on this node", world.local_size);

  const int job = variables.number("SLURM_JOB_ID", 0);
  const int step = variables.number("SLURM_STEP_ID", 0);
  const std::string restarts = variables.text("SLURM_RESTART_COUNT");
  world.job_id = str(job, ".", step, ".", restarts.empty() ? "0" : restarts);

  world.master_host = variables.text("MASTER_ADDR");
  if (world.master_host.empty()) {
    const char* list_name = variables.has("SLURM_STEP_NODELIST") ? "SLURM_STEP_NODELIST" : "SLURM_JOB_NODELIST";
    const std::string list = variables.text(list_name);
    if (list.empty()) throw ConfigError(str("[", list_name, "] expected the nodes of the job, got nothing"));
    world.master_host = expand_node_list(list).front();
  }
  if (variables.has("MASTER_PORT")) {
    world.master_port = variables.port("MASTER_PORT");
  } else {
    // Consecutive jobs and steps, which may share a node, have disjoint ranges.
    constexpr int kRanges = kJobPorts / kPortsPerJob;
    world.master_port = kFirstJobPort + (job + 31 * step) % kRanges * kPortsPerJob;
    world.master_port_count = kPortsPerJob;
  }
  return world;
}

}  // namespace

World detect_world() {
  return detect_world([](const char* name) { return std::getenv(name); });
}

World detect_world(const Environment& environment) {
  const Variables variables(environment);
  World world;
  if (variables.has("RANK") || variables.has("WORLD_SIZE") || variables.has("LOCAL_RANK")) {
    world = torchrun_world(variables);
  } else if (is_slurm_step(variables)) {
    world = slurm_world(variables);
  } else if (variables.has("SLURM_NTASKS") && variables.number("SLURM_NTASKS", 1) > 1) {
    log_warning("this Slurm job has ", variables.text("SLURM_NTASKS"),
                " tasks, but this is one process: nothing has started the others (try srun millrace ...)");
  }
  world.host = environment("SLURMD_NODENAME") != nullptr ? variables.text("SLURMD_NODENAME") : this_host();
  return world;
}

}  // namespace millrace
