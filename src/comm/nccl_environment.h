// What NCCL and c10d's watchdog over it are told by environment variables, which both read when they start.
#pragma once

namespace millrace {

// Sets, unless the user has:
//   NCCL_ALGO                                no reduction inside NVLink switches (NVLS), whose order of additions
//   differs
//                                            from call to call; gathers, which only copy, keep it. Not with allow_nvls.
//   TORCH_NCCL_DUMP_ON_TIMEOUT               no flight-recorder files in the temporary folder, and
//   TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC      no minute of waiting for them, before a late collective ends the process
// Call it while the process has one thread: environments are not safe to change under others.
void set_nccl_environment(bool allow_nvls);

}  // namespace millrace
