// How a run is spread, kept and fitted into memory.
#pragma once

#include <cstdint>
#include <string>

#include "config/option.h"

namespace millrace {

struct CheckpointConfig {
  bool enable = false;
  std::string folder = "checkpoint";
  int64_t interval = 500;
  std::string async_mode = "disabled";
  int64_t keep_latest_k = 10;
  bool keep_best = false;
  int64_t load_step = -1;
  std::string initial_load_path;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(enable, {.name = "enable",
                   .meaning = "save checkpoints, and resume from the newest one",
                   .aliases = {"checkpoint.enable_checkpoint"}});
    visit(folder, {.name = "folder", .meaning = "folder of the checkpoints, inside job.dump_folder"});
    visit(interval, {.name = "interval",
                     .unit = "steps",
                     .meaning = "steps between two checkpoints; the last step is always saved",
                     .at_least = 1});
    visit(async_mode, {.name = "async_mode",
                       .meaning = "write in the background: training waits only for the copy out of the device (both "
                                  "async modes are the same here)",
                       .choices = {"disabled", "async", "async_with_pinned_mem"}});
    visit(keep_latest_k, {.name = "keep_latest_k",
                          .unit = "checkpoints",
                          .meaning = "newest checkpoints to keep; 0: all",
                          .at_least = 0});
    visit(keep_best, {.name = "keep_best",
                      .meaning = "save after each validation that is the best so far, and keep that checkpoint in the "
                                 "folder \"best\" beside the others; needs validation.enable"});
    visit(load_step,
          {.name = "load_step", .meaning = "step of the checkpoint to resume from; -1: the newest", .at_least = -1});
    visit(initial_load_path, {.name = "initial_load_path",
                              .meaning = "safetensors file or folder of initial weights, used if there is no "
                                         "checkpoint to resume from; empty: random weights",
                              .none_is_empty = true});
  }
  bool operator==(const CheckpointConfig&) const = default;
};

struct ActivationCheckpointConfig {
  std::string mode = "selective";
  bool offload = false;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(mode, {.name = "mode",
                 .meaning = "what the backward pass recomputes: none: nothing; selective: everything except the "
                            "outputs of matrix products and attention; full: each block from its input",
                 .choices = {"none", "selective", "full"}});
    visit(offload, {.name = "offload",
                    .meaning = "keep the inputs of the transformer's blocks in host memory between the forward and the "
                               "backward pass, which fetches them one block ahead; needs mode full"});
  }
  bool operator==(const ActivationCheckpointConfig&) const = default;
};

}  // namespace millrace
