// Pictures from FLUX for a list of prompts, on one rank or shared among many; for `sample` and for a run's previews.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/group.h"
#include "diffusion/flux_run_config.h"
#include "diffusion/flux_setup.h"
#include "diffusion/flux_trainee.h"
#include "diffusion/sample_prompt.h"
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
  std::string negative_prompt = {};
  bool is_guided() const { return guidance_scale != 1; }
  bool operator==(const DrawOptions&) const = default;
};
// From the options of [sample].
DrawOptions draw_options(const FluxRunConfig& config, const flux::FluxConfig& sizes);

// The option that is missing to encode prompts and decode pictures, as "encoder.t5_encoder"; "" when none is. Training
// from preprocessed data needs no encoders.
std::string missing_for_drawing(const FluxRunConfig& config);

// What a prompt is drawn with, where `usual` is what all are.
DrawOptions options_of(const PromptToDraw& prompt, const DrawOptions& usual);

struct DrawCallbacks {
  // Gets the prompt's number, from 0, and its picture: on the rank that drew it.
  std::function<void(int64_t number, const Image& picture)> on_picture = {};
  std::function<void(double fraction)> progress = {};
};
// One picture for each prompt, in their order: on rank 0 of the group, and only if wanted there; nothing on the others.
// Prompts with the same options are drawn together, and shared among the ranks. All ranks of the group draw equally
// many pictures, so that they may share one model: pictures beyond the last prompt only keep collectives matched and
// are discarded. A picture depends on the seed and on its prompt's number, not on the ranks; with a seed of its own, on
// that alone. Throws ConfigError for sizes that the model cannot draw.
std::vector<Image> draw_prompts(FluxTrainee& trainee, CaptionEncoders& encoders, PictureCodec& codec,
                                const std::vector<PromptToDraw>& prompts, const DrawOptions& usual, Group& group,
                                bool wants_pictures, const DrawCallbacks& callbacks = {});

}  // namespace millrace
