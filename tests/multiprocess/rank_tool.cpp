// One rank of a run whose steps do nothing but add one number over all ranks.
//
//   millrace_rank_tool [--steps N] [--init S] [--train S] [--fingerprint TEXT] [--version TEXT]
//                      [--fail-at STEP] [--busy-at STEP]     computes without end
//                      [--open-fails TEXT]                   the device cannot be opened
//                      [--open-waits-for FILE]               until this file exists, it is being opened
//                      [--prepares S]                        before its first collective
//
// Prints "step N pid P" per step (20 ms each). The *-of-RANK forms, e.g. --fingerprint-of-2 TEXT, are for one rank.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <thread>

#include "base/error.h"
#include "comm/communicator.h"

namespace millrace {
namespace {

int run(int argc, char** argv) {
  const World world = detect_world();
  std::map<std::string, std::string> options;
  const std::string mine = "-of-" + std::to_string(world.rank);
  for (int i = 1; i + 1 < argc; i += 2) {
    std::string name = argv[i];
    const size_t of = name.find("-of-");
    if (of != std::string::npos && name.substr(of) != mine) continue;
    options[name.substr(2, of == std::string::npos ? of : of - 2)] = argv[i + 1];
  }
  auto number = [&](const char* name, double otherwise) {
    return options.contains(name) ? std::stod(options[name]) : otherwise;
  };
  CommOptions comm;
  comm.shape.dp_shard = world.size;
  comm.init_timeout = number("init", 60);
  comm.train_timeout = number("train", 60);
  comm.fingerprint = options["fingerprint"];
  comm.version = options["version"];
  comm.open_device = [&]() -> torch::Device {
    if (options.contains("open-fails")) throw ConfigError(options["open-fails"]);
    while (options.contains("open-waits-for") && !std::filesystem::exists(options["open-waits-for"])) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return torch::kCPU;
  };
  const auto ranks = connect(world, comm);
  std::this_thread::sleep_for(std::chrono::duration<double>(number("prepares", 0)));
  try {
    const auto steps = static_cast<int64_t>(number("steps", 5));
    for (int64_t step = 1; step <= steps; ++step) {
      ranks->watch().set_step(step);
      if (static_cast<double>(step) == number("fail-at", -1)) throw NumericsError("[loss] expected a number, got nan");
      torch::Tensor one = torch::ones({1000});
      ranks->mesh().world().all_reduce(one).wait();
      if (step == 1) ranks->use_train_timeout();
      MILLRACE_CHECK(one[999].item<float>() == static_cast<float>(world.size));
      std::printf("step %lld pid %d\n", static_cast<long long>(step), static_cast<int>(::getpid()));
      std::fflush(stdout);
      while (number("busy-at", -1) == static_cast<double>(step)) {
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  } catch (const Error& error) {
    if (!Watch::was_printed(error.what()))
      ranks->watch().announce_failure(error.what(), static_cast<int>(error.code()));
    throw;
  }
  ranks->leave();
  return 0;
}

}  // namespace
}  // namespace millrace

int main(int argc, char** argv) {
  try {
    return millrace::run(argc, argv);
  } catch (const millrace::Error& error) {
    if (!millrace::Watch::was_printed(error.what())) std::fprintf(stderr, "millrace: %s\n", error.what());
    return static_cast<int>(error.code());
  }
}
