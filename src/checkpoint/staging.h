// Host copies of tensors, so that training goes on while they are written.
#pragma once

#include <map>
#include <string>
#include <vector>

#include <torch/torch.h>

#include "checkpoint/named_tensor.h"
#include "formats/safetensors.h"

namespace millrace {

// The bytes of CPU tensors where they are. The tensors must stay unchanged while the views are used.
std::vector<TensorView> views_of(const std::vector<NamedTensor>& cpu_tensors);

class HostStaging {
 public:
  // Copies all tensors and returns the copies; they stay valid until the next call. Buffers are kept and reused, in
  // pinned memory for tensors of a GPU. Tensors that `keep_in_place` allows, contiguous ones on the CPU, are passed on
  // as they are.
  std::vector<NamedTensor> copy(const std::vector<NamedTensor>& tensors, bool keep_in_place = false);

 private:
  torch::Tensor buffer_for(const NamedTensor& source);

  std::map<std::string, torch::Tensor> buffers_;
};

}  // namespace millrace
