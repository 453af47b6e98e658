// Pictures from FLUX for a list of prompts, on one rank or shared among many; for `sample` and for a run's previews.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "comm/group.h"
#include "diffusion/flux_run_config.h"
#include "diffusion/flux_setup.h"
#include "diffusion/flux_trainee.h"
#include "images/image.h"

namespace millrace {

struct DrawOptions {
  int64_t width = 256, height = 256;  // pixels
  int64_t patch_size = 2;
  int64_t denoising_steps = 50;
  double guidance_scale = 1;        // classifier-free
  double distilled_guidance = 3.5;  // FLUX.1-dev's input
  bool shift_times = false;         // for the number of image tokens, see diffusion/sampler.h
  uint64_t seed = 0;
  int64_t batch_size = 16;  // prompts at a time, on one rank; with guidance the model runs twice as many
};
// From the options of [sample].
DrawOptions draw_options(const FluxRunConfig& config, const flux::FluxConfig& sizes);

// One prompt a line (see base/text_lines.h); blank lines are skipped. Throws ConfigError for a line that is not UTF-8.
std::vector<std::string> read_prompts_file(const std::filesystem::path& path);

// The option that is missing to encode prompts and decode pictures, as "encoder.t5_encoder"; "" when none is. Training
// from preprocessed data needs no encoders.
std::string missing_for_drawing(const FluxRunConfig& config);

// Draws this rank's part of the prompts. All ranks of the group draw equally many pictures, so that they may share one
// model: pictures beyond the last prompt only keep collectives matched and are discarded. A picture depends on the seed
// and on its prompt's index in the whole list, not on the ranks. on_picture gets that index (from 0), ascending.
void draw_pictures(FluxTrainee& trainee, CaptionEncoders& encoders, PictureCodec& codec,
                   const std::vector<std::string>& prompts, const DrawOptions& options, const Group& group,
                   const std::function<void(int64_t number, Image picture)>& on_picture,
                   const std::function<void(double fraction)>& progress = {});

// All pictures in order, on rank 0 of the group; nothing on the others. own: this rank's pictures from draw_pictures().
std::vector<Image> gather_pictures(const std::vector<Image>& own, int64_t total, const DrawOptions& options,
                                   Group& group, torch::Device device);

}  // namespace millrace
