// The training steps, and how their data is read.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "config/option.h"

namespace millrace {

enum class Precision { kFloat32, kBFloat16 };
constexpr std::array<Choice<Precision>, 2> choices_of(Precision) {
  return {{{"float32", Precision::kFloat32}, {"bfloat16", Precision::kBFloat16}}};
}

inline constexpr double kUnlimitedNorm = 1e30;  // of training.max_norm, and anything above it

struct TrainingConfig {
  std::optional<int64_t> subset_size;
  int64_t local_batch_size = 8;
  int64_t global_batch_size = -1;  // -1: local_batch_size times the ranks, without accumulation
  std::string accumulate_dtype = "auto";
  int64_t steps = 10000;
  double max_norm = 1.0;        // kUnlimitedNorm: gradients stay as they are
  std::optional<int64_t> seed;  // unset: 0
  bool random_seed = false;
  std::string device = "auto";
  Precision dtype = Precision::kFloat32;
  std::string mixed_precision_param = "auto";
  Precision mixed_precision_reduce = Precision::kFloat32;
  double max_bad_samples = 0.01;
  int64_t shuffle_buffer_size = 1000;
  int64_t num_workers = 0;  // 0: one per CPU core, at most 8

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(subset_size, {.name = "subset_size",
                        .unit = "samples",
                        .meaning = "number of samples to train on, from the start of the data; None: all",
                        .at_least = 1});
    visit(local_batch_size, {.name = "local_batch_size",
                             .unit = "samples",
                             .meaning = "samples that one rank processes at a time",
                             .at_least = 1,
                             .at_most = 1 << 24,
                             .aliases = {"training.batch_size"}});
    visit(global_batch_size, {.name = "global_batch_size",
                              .unit = "samples",
                              .meaning = "samples per step over all ranks, a multiple of local_batch_size times the "
                                         "ranks: the rest is gradient accumulation; -1: no accumulation",
                              .at_least = -1});
    visit(accumulate_dtype,
          {.name = "accumulate_dtype",
           .meaning =
               "where bfloat16 gradients of several microbatches are summed on one data rank: float32, in a buffer "
               "of its own (4 bytes a parameter); bfloat16, rounded up or down at random (no buffer); auto: "
               "the dtype of the weights (training.dtype)",
           .choices = {"auto", "float32", "bfloat16"}});
    visit(steps, {.name = "steps", .unit = "steps", .meaning = "length of the run", .at_least = 0});
    visit(max_norm, {.name = "max_norm",
                     .meaning = "gradients are scaled down to this global norm; 1e30 or more: never",
                     .above = 0});
    visit(seed, {.name = "seed",
                 .meaning = "seed of everything random: weights, order, noise, timesteps, dropout; None: 0",
                 .at_least = 0,
                 .aliases = {"debug.seed"},
                 .torchtitan_default = "None: random"});
    visit(random_seed,
          {.name = "random_seed",
           .meaning = "draw training.seed when a new run starts, the same for all ranks; the run's config.toml has the "
                      "number, and a resumed run keeps its own"});
    visit(device, {.name = "device",
                   .meaning = "where to train; cuda: an NVIDIA GPU or, with libtorch for ROCm, an AMD GPU; auto: cuda "
                              "if there is a usable GPU",
                   .choices = {"auto", "cpu", "cuda"}});
    visit(dtype, {.name = "dtype", .meaning = "storage of the weights that the optimizer updates"});
    visit(mixed_precision_param, {.name = "mixed_precision_param",
                                  .meaning = "precision of the model's arithmetic; auto: bfloat16 on GPUs and on CPUs "
                                             "with bfloat16 instructions, else float32",
                                  .choices = {"auto", "bfloat16", "float32"},
                                  .torchtitan_default = "bfloat16"});
    visit(mixed_precision_reduce, {.name = "mixed_precision_reduce",
                                   .meaning = "precision in which gradients are sent and summed between ranks"});
    visit(max_bad_samples,
          {.name = "max_bad_samples",
           .meaning = "fraction of the samples that may be unreadable; above it the run stops (exit status 3)",
           .at_least = 0,
           .at_most = 1});
    visit(shuffle_buffer_size,
          {.name = "shuffle_buffer_size",
           .unit = "samples",
           .meaning = "number of samples from which the next one is drawn; 0: the order of the files",
           .at_least = 0,
           .at_most = 1 << 24});
    visit(num_workers, {.name = "num_workers",
                        .unit = "threads",
                        .meaning = "threads that decode pictures ahead of the step; 0: one per CPU core, at most 8",
                        .at_least = 0,
                        .at_most = 4096,
                        .aliases = {"training.dataloader.num_workers"}});
  }
  bool operator==(const TrainingConfig&) const = default;
};

}  // namespace millrace
