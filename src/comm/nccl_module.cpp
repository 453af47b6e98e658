#define USE_C10D_NCCL
#include "comm/nccl_module.h"

#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

extern "C" c10::intrusive_ptr<c10d::Backend> millrace_make_nccl_backend(const millrace::NcclArguments& arguments) {
  auto options = c10d::ProcessGroupNCCL::Options::create(/*is_high_priority_stream=*/true);
  options->timeout = std::chrono::milliseconds(static_cast<int64_t>(arguments.timeout * 1000));
  options->group_name = arguments.name;
  auto group =
      c10::make_intrusive<c10d::ProcessGroupNCCL>(arguments.store, arguments.rank, arguments.size, std::move(options));
  group->setBoundDeviceId(arguments.device);
  // Connect now, not at the first collective, where it would count against the deadline of the first step.
  group->eagerConnectSingleDevice(arguments.device);
  return group;
}

extern "C" void millrace_abort_nccl_backends(const std::vector<c10::intrusive_ptr<c10d::Backend>>& backends) {
  const auto as_nccl = [](const c10::intrusive_ptr<c10d::Backend>& backend) {
    return static_cast<c10d::ProcessGroupNCCL*>(backend.get());
  };
  if (backends.empty()) return;
  as_nccl(backends.front())->groupStart();
  for (const auto& backend : backends) as_nccl(backend)->abort();
  as_nccl(backends.front())->groupEnd();
}
