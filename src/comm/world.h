// This process's rank and the number of ranks, read from the environment that a launcher sets.
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
  std::string master_host;          // rank 0's host; empty on a single rank
  int master_port = 0;              // rank 0's port, or that of torchrun's agent's store
  // How many ports rank 0 may try, from master_port on: more than one if the port was derived from the job's number.
  int master_port_count = 1;
  bool agent_store = false;  // torchrun's agent keeps a store on master_port: rank 0's own port is published there
  std::string job_id;        // differs between jobs and between the attempts of a job; may be empty
};

// Returns the value of an environment variable, or nullptr.
using Environment = std::function<const char*(const char*)>;

// RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and MASTER_PORT (torchrun, `millrace launch`) come first,
// then Slurm's variables of a job step (MASTER_ADDR and MASTER_PORT override the node list and the port derived from
// the job's number); with neither, this process is the only rank. Throws ConfigError naming the variable that is
// missing, is not a number, or contradicts another.
World detect_world();
World detect_world(const Environment& environment);

}  // namespace millrace
