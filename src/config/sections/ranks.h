// How a run is spread over ranks, and how they communicate.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "config/option.h"

namespace millrace {

// What happens to a gathered unit when a forward pass that a backward pass will follow leaves it.
enum class Reshard {
  kDefault,  // released, except the last unit: the backward pass begins with it
  kAlways,   // released
  kNever,    // kept until finish_backward(): one gather a step, memory for all weights
};
constexpr std::array<Choice<Reshard>, 3> choices_of(Reshard) {
  return {{{"default", Reshard::kDefault}, {"always", Reshard::kAlways}, {"never", Reshard::kNever}}};
}

struct ParallelismConfig {
  int64_t data_parallel_replicate_degree = 1;
  int64_t data_parallel_shard_degree = -1;  // -1: all ranks that the other degrees leave
  int64_t tensor_parallel_degree = 1;
  Reshard fsdp_reshard_after_forward = Reshard::kDefault;
  bool reduce_every_microbatch = false;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(
        data_parallel_replicate_degree,
        {.name = "data_parallel_replicate_degree", .unit = "ranks", .meaning = "copies of the weights", .at_least = 1});
    visit(data_parallel_shard_degree, {.name = "data_parallel_shard_degree",
                                       .unit = "ranks",
                                       .meaning = "ranks that share one copy; -1: all that the other degrees leave",
                                       .at_least = -1});
    visit(tensor_parallel_degree, {.name = "tensor_parallel_degree",
                                   .unit = "ranks",
                                   .meaning = "ranks that share each matrix product; must divide model.num_heads",
                                   .at_least = 1});
    visit(
        reduce_every_microbatch,
        {.name = "reduce_every_microbatch",
         .meaning = "with gradient accumulation on several data ranks: sum every microbatch's gradients over the ranks "
                    "(traffic times microbatches), instead of keeping the whole model's gradients in float32 on "
                    "every rank until the last one"});
    visit(fsdp_reshard_after_forward,
          {.name = "fsdp_reshard_after_forward",
           .meaning = "free a block's gathered weights after its forward pass: always (least memory), never (least "
                      "traffic), default (always, except for the last block, which the backward pass needs first)"});
  }
  bool operator==(const ParallelismConfig&) const = default;
};

struct CommConfig {
  int64_t init_timeout_seconds = 300;
  int64_t train_timeout_seconds = 100;
  std::string backend = "auto";
  bool allow_nvls = false;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(init_timeout_seconds,
          {.name = "init_timeout_seconds",
           .unit = "seconds",
           .meaning = "how long to wait for all ranks to start; then they exit, naming the missing ranks; until "
                      "the first step is over, also how long a collective may take",
           .at_least = 1,
           .at_most = 86400});
    visit(train_timeout_seconds,
          {.name = "train_timeout_seconds",
           .unit = "seconds",
           .meaning = "how long a rank may be silent, or a collective may take, before all ranks exit with "
                      "status 7",
           .at_least = 3,
           .at_most = 86400});
    visit(backend, {.name = "backend",
                    .meaning = "what moves tensors between ranks; auto: nccl on GPUs (RCCL on AMD's), gloo on CPUs",
                    .choices = {"auto", "gloo", "nccl"}});
    visit(allow_nvls,
          {.name = "allow_nvls",
           .meaning = "let NCCL sum inside NVLink switches, which is faster, but rounds differently from run "
                      "to run: resuming is then not exact"});
  }
  bool operator==(const CommConfig&) const = default;
};

}  // namespace millrace
