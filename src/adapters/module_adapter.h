// An adapter whose parameters are trained: a module, and hooks around a layer's products.
#pragma once

#include <torch/nn/module.h>

#include <memory>

#include "nn/linear_adapter.h"

namespace millrace {

class ModuleAdapter : public torch::nn::Module, public LinearAdapter {
 public:
  using torch::nn::Module::Module;
  // How much of the adapter counts from now on, forward and backward: 0 leaves the layer unchanged, 1 is what is
  // trained.
  void set_strength(double strength) { strength_ = strength; }

 protected:
  double strength() const { return strength_; }

 private:
  double strength_ = 1;
};

}  // namespace millrace
