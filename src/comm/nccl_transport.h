// Collectives of CUDA tensors, by c10d's NCCL process group.
#pragma once

#include <torch/csrc/distributed/c10d/Store.hpp>

#include <memory>

#include "comm/transport.h"

namespace millrace {

// device: cuda:N of this rank. The program links no CUDA library: the code that needs them is a module beside it,
// libmillrace_nccl.so, loaded here. Throws ConfigError when this build lacks the module or it cannot be loaded.
std::shared_ptr<Transport> make_nccl_transport(const c10::intrusive_ptr<c10d::Store>& store, int rank, int size,
                                               torch::Device device, const std::string& name, double timeout,
                                               FailureHandler on_failure);

}  // namespace millrace
