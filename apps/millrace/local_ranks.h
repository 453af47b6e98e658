// Several processes of one command on this machine, as the ranks of one run.
#pragma once

#include <string>
#include <vector>

namespace millrace {

// This machine among several that each start as many ranks: those of node 0 come first.
struct NodePlace {
  int node = 0, nodes = 1;
  std::string master_host;  // of rank 0
  int master_port = 0;
  std::string job_id;  // the same on every machine
};

// Starts the command `ranks` times with RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT and,
// unless it is set, OMP_NUM_THREADS. Rank 0 has this process's output; lines of the others get a prefix. Signals are
// forwarded. After the first failure the others get 10 s, then SIGKILL. Returns the status of the first rank that
// failed (128 + N: killed by signal N), or 0. No rank outlives this process. Throws ConfigError when the command cannot
// be started.
int run_local_ranks(int ranks, const std::vector<std::string>& command);
// The same for this machine's part of nodes x ranks.
int run_local_ranks(int ranks, const std::vector<std::string>& command, const NodePlace& place);

}  // namespace millrace
