// Who am I among how many: read from the environment that a launcher leaves behind.
#pragma once

#include <functional>
#include <string>

namespace millrace {

struct World {
  int rank = 0;
  int size = 1;
  int local_rank = 0;  // among the ranks of this host; also the number of this rank's GPU
  int local_size = 1;
  std::string launcher = "single";  // "single", "launch" (millrace launch), "torchrun" or "slurm"
  std::string host;                 // this machine's name
  std::string master_host;          // where rank 0 is; empty on one rank
  int master_port = 0;              // where rank 0 listens, or where torchrun's agent keeps its store
  // Ports from master_port on that rank 0 may try: more than one where the port was derived from the job's number.
  int master_port_count = 1;
  bool agent_store = false;  // torchrun's agent keeps a store on master_port: rank 0's own port is published there
  std::string job_id;        // differs between jobs and between the attempts of a job; may be empty
};

// Returns the value of an environment variable, or nullptr.
using Environment = std::function<const char*(const char*)>;

// RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT (torchrun, `millrace launch`) come first,
// then Slurm's variables of a job step (MASTER_ADDR and MASTER_PORT may overrule the node list and the port derived
// from the job's number); with neither this process is alone. Throws ConfigError naming the variable that is missing,
// is no number, or contradicts another.
World detect_world();
World detect_world(const Environment& environment);

}  // namespace millrace
