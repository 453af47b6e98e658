// Everything that a process needs to be one of many ranks; lives as long as the run.
#pragma once

#include <torch/types.h>

#include <functional>
#include <memory>
#include <string>

#include "comm/mesh.h"
#include "comm/store.h"
#include "comm/watch.h"
#include "comm/world.h"

namespace millrace {

struct CommOptions {
  MeshShape shape;                     // shape.size() must be the number of ranks
  torch::Device device = torch::kCPU;  // of the tensors in collectives: cpu (Gloo) or cuda:N (NCCL)
  std::string backend = "auto";        // auto, gloo or nccl; auto: nccl for cuda, gloo for cpu
  // Opens `device` instead, once all ranks have connected: the first use of a GPU may take minutes and ranks differ,
  // which must not count against init_timeout. Ranks may not open devices of different types.
  std::function<torch::Device()> open_device = nullptr;
  double init_timeout = 300;   // seconds until all ranks must have connected
  double train_timeout = 100;  // seconds that a rank may be silent, or a collective may take after use_train_timeout()
  bool allow_nvls = false;     // NCCL may sum inside NVLink switches, in an order that differs from run to run
  std::string fingerprint;     // of the configuration: must be equal on all ranks; short, it is shown when it differs
  std::string version;         // of the program: must be equal on all ranks
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  const World& world() const { return world_; }
  Mesh& mesh() { return *mesh_; }
  Store& store() { return *store_; }
  Watch& watch() { return *watch_; }
  torch::Device device() const { return device_; }  // of the tensors in collectives
  // Until it is called, on every rank, a collective may take the longer of the two timeouts: ranks start at different
  // speeds (indexing data, loading weights). Call it when the first step is over.
  virtual void use_train_timeout() {}
  // One line: "rank 1 of 4 (launch, host a), dp_replicate 1 x dp_shard 4 x tp 1, gloo".
  std::string describe() const;
  // The normal end, also after a pre-emption: says goodbye; rank 0 waits for the others' goodbye. No collective may
  // follow. Throws like watch().check() when a rank was lost meanwhile.
  // The destructor calls it except while an exception is propagating; then the other ranks see this one as lost, unless
  // watch().announce_failure() has told them why.
  virtual void leave() {}

 protected:
  World world_;
  torch::Device device_ = torch::kCPU;
  std::string transport_ = "single";
  std::unique_ptr<Store> store_;
  std::unique_ptr<Watch> watch_;
  std::unique_ptr<Mesh> mesh_;
};

// Connects to the other ranks; a single rank opens no socket. Collective over all ranks. Throws PeerLostError naming
// missing ranks after init_timeout, ConfigError naming what differs between ranks; all ranks throw the same message.
std::shared_ptr<Communicator> connect(const World& world, const CommOptions& options);

// Rank `rank` of world_size whose other ranks do not exist: groups move no data (all_gather only puts this rank's shard
// into place) and record their traffic. Accepts meta tensors.
std::shared_ptr<Communicator> fake(int world_size, int rank, const CommOptions& options);

}  // namespace millrace
