// The functions of libmillrace_nccl.so, the only part of the program that is linked to libtorch_cuda and NCCL.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include <string>
#include <vector>

namespace millrace {

struct NcclArguments {
  c10::intrusive_ptr<c10d::Store> store;
  int rank = 0;
  int size = 1;
  c10::Device device = c10::kCUDA;
  std::string name;
  double timeout = 100;  // seconds
};

// Connects all ranks of the group: collective. Throws c10::Error.
using MakeNcclBackend = c10::intrusive_ptr<c10d::Backend> (*)(const NcclArguments&);
// Ends pending collectives of all these backends together: NCCL wants communicators of one device to be aborted as a
// group, because one abort may wait for another.
using AbortNcclBackends = void (*)(const std::vector<c10::intrusive_ptr<c10d::Backend>>& backends);
inline constexpr const char* kAbortNcclBackends = "millrace_abort_nccl_backends";
inline constexpr const char* kMakeNcclBackend = "millrace_make_nccl_backend";
inline constexpr const char* kNcclModule = "libmillrace_nccl.so";

}  // namespace millrace
