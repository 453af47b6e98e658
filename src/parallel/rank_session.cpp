#include "parallel/rank_session.h"

#include "base/files.h"
#include "nn/cpu_allocator.h"
#include "parallel/run_as_rank.h"
#include "parallel/run_device.h"

namespace millrace {
namespace {

// Short, and shown when ranks differ.
std::string fingerprint(const RunConfig& config) {
  const std::string text = to_toml(config);
  return checksum_text(checksum64(text.data(), text.size()));
}

CommOptions comm_options(const RunConfig& config, const World& world, const std::string& version) {
  CommOptions options;
  const MeshDegrees degrees = mesh_degrees(config, world.size);
  options.shape = {degrees.dp_replicate, degrees.dp_shard, degrees.tp};
  options.open_device = [wanted = config.training.device, world] { return device_of_rank(wanted, world); };
  options.backend = config.comm.backend;
  options.init_timeout = static_cast<double>(config.comm.init_timeout_seconds);
  options.train_timeout = static_cast<double>(config.comm.train_timeout_seconds);
  options.allow_nvls = config.comm.allow_nvls;
  options.fingerprint = fingerprint(config);
  options.version = version;
  return options;
}

}  // namespace

void with_ranks(const RunConfig& config, const World& world, const std::string& version,
                const std::function<void(Communicator& ranks, torch::Device device)>& work) {
  install_caching_cpu_allocator();
  const auto ranks = connect(world, comm_options(config, world, version));
  run_as_rank(*ranks, [&] { work(*ranks, ranks->device()); });
}

}  // namespace millrace
