// FLUX's last layer: parameters of a modulated norm and a projection back to image tokens.
#pragma once

#include <memory>

#include "models/flux/model.h"

namespace millrace::flux {

struct Flux::FinalLayer : torch::nn::Module {
  explicit FinalLayer(const FluxConfig& config)
      : linear(register_module("linear", std::make_shared<Linear>(config.hidden_size, config.out_channels))),
        // The container's index 0 is the SiLU.
        ada_ln_modulation(register_module("adaLN_modulation", std::make_shared<torch::nn::Module>())),
        modulation(ada_ln_modulation->register_module(
            "1", std::make_shared<Linear>(config.hidden_size, 2 * config.hidden_size))) {}

  std::shared_ptr<Linear> linear;
  std::shared_ptr<torch::nn::Module> ada_ln_modulation;
  std::shared_ptr<Linear> modulation;
};

}  // namespace millrace::flux
