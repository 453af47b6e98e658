// The pictures that a run draws.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/option.h"

namespace millrace {

struct SampleConfig {
  int64_t every_steps = 0, every_epochs = 0;  // 0: never
  std::vector<std::string> prompts;
  std::string prompts_file;
  int64_t denoising_steps = 50;
  double guidance_scale = 1.0;
  int64_t seed = 0;
  int64_t img_size = 0;      // 0: training.img_size
  int64_t grid_columns = 0;  // 0: as square as possible
  int64_t local_batch_size = 16;
  std::optional<bool> shift;

  template <typename Visitor>
  void describe(Visitor& visit) {
    visit(every_steps, {.name = "every_steps",
                        .unit = "steps",
                        .meaning = "steps between two grids of sample pictures in job.dump_folder/samples; 0: none",
                        .at_least = 0});
    visit(every_epochs,
          {.name = "every_epochs",
           .unit = "epochs",
           .meaning = "epochs between two grids, alone or with every_steps, of pictures in folders only; 0: none",
           .at_least = 0});
    visit(prompts, {.name = "prompts", .meaning = "what to draw, one picture per prompt"});
    visit(prompts_file,
          {.name = "prompts_file",
           .meaning = "file with one prompt per line, instead of prompts; with flags (--w 768 --d 42), or "
                      ".toml or .json, as sd-scripts reads it",
           .none_is_empty = true,
           .aliases = {"inference.prompts_path"}});
    visit(denoising_steps, {.name = "denoising_steps",
                            .unit = "steps",
                            .meaning = "Euler steps from noise to picture",
                            .at_least = 1,
                            .aliases = {"validation.denoising_steps", "eval.denoising_steps"}});
    visit(guidance_scale,
          {.name = "guidance_scale",
           .meaning = "classifier-free guidance: v = v_empty + scale * (v_prompt - v_empty); 1: off",
           .at_least = 0,
           .aliases = {"validation.classifier_free_guidance_scale", "validation.classifer_free_guidance_scale",
                       "eval.classifier_free_guidance_scale", "eval.classifer_free_guidance_scale"},
           .torchtitan_default = "5.0, off"});
    visit(seed, {.name = "seed", .meaning = "seed of the starting noise, the same for every grid", .at_least = 0});
    visit(img_size, {.name = "img_size",
                     .unit = "pixels",
                     .meaning = "side of a picture; 0: training.img_size",
                     .at_least = 0,
                     .at_most = 65536,
                     .aliases = {"inference.img_size"}});
    visit(grid_columns,
          {.name = "grid_columns", .meaning = "columns of a grid; 0: as square as possible", .at_least = 0});
    visit(local_batch_size,
          {.name = "local_batch_size",
           .unit = "pictures",
           .meaning = "pictures that one rank draws at a time; with guidance the model computes twice as many",
           .at_least = 1,
           .at_most = 1 << 24,
           .aliases = {"inference.batch_size", "inference.local_batch_size"}});
    visit(shift, {.name = "shift",
                  .meaning = "spend more steps near noise, increasingly with the number of image tokens; None: as "
                             "Black Forest Labs do, for models with guidance_embed (FLUX.1-dev)",
                  .torchtitan_default = "true"});
  }
  // Whether a run draws at all.
  bool draws() const { return every_steps > 0 || every_epochs > 0; }
  bool operator==(const SampleConfig&) const = default;
};

}  // namespace millrace
