// millrace verify: this machine's kernels against the fp32 reference.
#include <cstdio>
#include <string>

#include "command_line.h"
#include "commands.h"
#include "kernels/cpu_level.h"
#include "kernels/self_check.h"
#include "nn/device.h"

namespace millrace {

int run_verify(const std::vector<std::string>& args) {
  CLI::App app{"Runs every kernel forward and backward on this machine and compares it with the fp32 reference.",
               "millrace verify"};
  std::string device_name = "auto";
  app.add_option("--device", device_name, "cpu, cuda, cuda:N or auto")->capture_default_str();
  if (!parse_command_line(app, args)) return static_cast<int>(ExitCode::kDone);

  const torch::Device device = resolve_device(device_name);
  std::printf("device: %s\ncpu level: %s\n\n%-32s %12s %12s\n", device.str().c_str(), cpu_level_report().c_str(),
              "kernel", "error", "allowed");
  int failures = 0;
  for (const KernelCheck& check : kernel_checks()) {
    const KernelCheckResult result = check.run(device);
    std::printf("%-32s %12.3g %12.3g  %s\n", check.name.c_str(), result.error, result.tolerance,
                result.passed() ? "ok" : "FAILED");
    if (!result.passed()) ++failures;
  }
  if (failures > 0) {
    throw NumericsError(std::to_string(failures) + " kernels are further from their reference than allowed");
  }
  std::printf("\nall kernels agree with their references\n");
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
