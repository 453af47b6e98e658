// The compressed lists in Slurm's environment variables.
#pragma once

#include <string>
#include <vector>

namespace millrace {

// "node[01-03,7],gpu-a" -> node01, node02, node03, node7, gpu-a. Throws ConfigError for text that is not such a list
// and for more than 100,000 nodes.
std::vector<std::string> expand_node_list(const std::string& list);

// "4(x2),3" -> 4, 4, 3: the tasks on each node. Throws ConfigError.
std::vector<int> expand_task_counts(const std::string& list);

}  // namespace millrace
