#include "comm/communicator.h"

#include "base/error.h"
#include "base/log.h"
#include "comm/rendezvous.h"
#include "comm/transport.h"

namespace millrace {
namespace {

// One process: real or simulated ranks, but no other process to talk to.
class LocalCommunicator : public Communicator {
 public:
  LocalCommunicator(World world, const CommOptions& options, const Mesh::MakeTransport& make_transport) {
    world_ = std::move(world);
    device_ = options.open_device ? options.open_device() : options.device;
    if (world_.size > 1) transport_ = "fake";
    store_ = make_local_store();
    watch_ = std::make_unique<NoWatch>();
    mesh_ = std::make_unique<Mesh>(options.shape, world_.rank, world_.size, make_transport);
  }
};

}  // namespace

std::string Communicator::describe() const {
  return str("rank ", world_.rank, " of ", world_.size, " (", world_.launcher, ", host ", world_.host, "), ",
             to_string(mesh_->shape()), ", ", transport_);
}

std::shared_ptr<Communicator> connect(const World& world, const CommOptions& options) {
  if (world.size > 1) return connect_ranks(world, options);
  const auto nothing_to_make = [](const std::vector<int>&, const std::string&) -> std::shared_ptr<Transport> {
    throw LogicError("one rank needs no transport");
  };
  return std::make_shared<LocalCommunicator>(world, options, nothing_to_make);
}

std::shared_ptr<Communicator> fake(int world_size, int rank, const CommOptions& options) {
  World world;
  world.rank = rank;
  world.size = world_size;
  world.launcher = "fake";
  world.host = "nowhere";
  return std::make_shared<LocalCommunicator>(
      std::move(world), options, [rank](const std::vector<int>& ranks, const std::string&) {
        return make_fake_transport(static_cast<int>(std::find(ranks.begin(), ranks.end(), rank) - ranks.begin()));
      });
}

}  // namespace millrace
