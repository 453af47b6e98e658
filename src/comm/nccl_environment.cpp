#include "comm/nccl_environment.h"

#include <cstdlib>

namespace millrace {

void set_nccl_environment(bool allow_nvls) {
  constexpr int kKeepTheUsers = 0;
  // NCCL 2.24 and newer: a list of algorithms per collective, "^" excludes.
  if (!allow_nvls) {
    ::setenv("NCCL_ALGO", "reducescatter:^nvls,nvlstree;allreduce:^nvls,nvlstree;reduce:^nvls,nvlstree", kKeepTheUsers);
  }
  // After a time-out c10d sleeps four times the second one's value before it throws.
  ::setenv("TORCH_NCCL_DUMP_ON_TIMEOUT", "0", kKeepTheUsers);
  ::setenv("TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC", "250", kKeepTheUsers);
}

}  // namespace millrace
