// A model whose parameters are all in FlatParameters: on one device, or sharded over ranks.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <string>

#include "nn/recompute.h"
#include "parallel/flat_parameters.h"
#include "parallel/offloaded_inputs.h"

namespace millrace {

class FlatModel : public torch::nn::Module {
 public:
  using Module::Module;
  FlatParameters& flat_parameters() { return *flat_; }
  const FlatParameters& flat_parameters() const { return *flat_; }
  // Null before the first pass with Keep::kInputsOnHost.
  const OffloadedInputs* offloaded_inputs() const { return offloaded_inputs_.get(); }

 protected:
  // For a forward pass with that keep; null if it leaves nothing in host memory.
  OffloadedInputs* start_offloading(Keep keep);

  std::unique_ptr<FlatParameters> flat_;  // made at the end of the model's constructor

 private:
  std::unique_ptr<OffloadedInputs> offloaded_inputs_;
};

// Frozen weights in that dtype, on one device.
FlatParametersOptions on_one_device(const torch::TensorOptions& options);

// A unit with all parameters below `module`, whose qualified name begins with prefix ("encoder.block.3."), back to
// back: matrices first, in module order, then vectors, so that neighbours (q, k, v) and their biases each form one
// tensor.
UnitSpec packed_unit(const std::string& name, const std::string& prefix, const torch::nn::Module& module);

}  // namespace millrace
