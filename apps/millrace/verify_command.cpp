// millrace verify: this machine's kernels, and with several ranks their collectives, against references.
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/self_check.h"
#include "command_line.h"
#include "commands.h"
#include "kernels/cpu_level.h"
#include "kernels/self_check.h"
#include "nn/layer_checks.h"
#include "parallel/run_device.h"

namespace millrace {
namespace {

int verify_kernels(torch::Device device) {
  std::printf("device: %s\ncpu level: %s\n\n%-48s %12s %12s\n", device.str().c_str(), cpu_level_report().c_str(),
              "kernel", "error", "allowed");
  int failures = 0;
  std::vector<KernelCheck> checks = kernel_checks();
  for (KernelCheck& check : layer_checks()) checks.push_back(std::move(check));
  for (const KernelCheck& check : checks) {
    if (check.cpu_only && !device.is_cpu()) continue;
    const KernelCheckResult result = check.run(device);
    std::printf("%-48s %12.3g %12.3g  %s\n", check.name.c_str(), result.error, result.tolerance,
                result.passed() ? "ok" : "FAILED");
    if (!result.passed()) ++failures;
  }
  return failures;
}

// Collective over all ranks; rank 0 prints.
int verify_collectives(const World& world, torch::Device device, int64_t count) {
  CommOptions options;
  options.shape = shape_for_check(world.size);
  options.device = device;
  options.init_timeout = 60;
  options.train_timeout = 60;
  options.fingerprint = std::to_string(count);
  const auto ranks = connect(world, options);
  const auto checks = check_collectives(*ranks, device, count);
  int failures = 0;
  if (world.rank == 0) {
    std::printf("%s\n\n%-48s %10s %10s %12s\n", ranks->describe().c_str(), "collective", "error", "allowed", "GB/s");
  }
  for (const CollectiveCheck& check : checks) {
    if (!check.passed()) ++failures;
    if (world.rank == 0) {
      std::printf("%-48s %10.3g %10.3g %12.3f  %s\n", check.name.c_str(), check.error, check.allowed,
                  static_cast<double>(check.bytes) / check.seconds * 1e-9, check.passed() ? "ok" : "FAILED");
    }
  }
  ranks->leave();
  return failures;
}

}  // namespace

int run_verify(const std::vector<std::string>& args) {
  ArgumentParser app{
      "Runs every kernel forward and backward on this machine and compares it with the fp32 reference. As one of "
      "several\n"
      "ranks (`millrace launch -n 4 verify`, srun, torchrun) it checks the collectives between them instead.",
      "millrace verify"};
  std::string device_name = "auto";
  int64_t count = 1 << 16;
  app.add_option("--device", device_name, "cpu, cuda, cuda:N or auto")->capture_default_str();
  app.add_option("--elements", count, "several ranks: numbers per rank in each collective")
      ->capture_default_str()
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  if (!parse_command_line(app, args)) return static_cast<int>(ExitCode::kDone);

  const World world = detect_world();
  const torch::Device device = device_of_rank(device_name, world);
  const int failures = world.size > 1 ? verify_collectives(world, device, count) : verify_kernels(device);
  const char* what = world.size > 1 ? "collectives" : "kernels";
  if (failures > 0) {
    throw NumericsError(std::to_string(failures) + " " + what + " are further from their reference than allowed");
  }
  if (world.rank == 0) std::printf("\nall %s agree with their references\n", what);
  return static_cast<int>(ExitCode::kDone);
}

}  // namespace millrace
