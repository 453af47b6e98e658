// What the tests of FLUX share.
#pragma once

#include "models/flux/model.h"

namespace millrace::flux {

// A batch of six image and five text tokens each.
inline FluxInputs random_inputs(const FluxConfig& config, int64_t batch) {
  FluxInputs inputs;
  inputs.img_BIC = torch::randn({batch, 6, config.in_channels});
  inputs.img_ids_BIA = torch::randint(0, 5, {batch, 6, 3}).to(torch::kFloat32);
  inputs.txt_BTX = torch::randn({batch, 5, config.context_in_dim});
  inputs.txt_ids_BTA = torch::zeros({batch, 5, 3});
  inputs.timesteps_B = torch::rand({batch});
  inputs.y_BV = torch::randn({batch, config.vec_in_dim});
  if (config.guidance_embed) inputs.guidance_B = torch::rand({batch});
  return inputs;
}

}  // namespace millrace::flux
