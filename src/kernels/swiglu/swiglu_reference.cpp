#include "kernels/swiglu/swiglu.h"

namespace millrace {

torch::Tensor swiglu_reference(const torch::Tensor& gate_BLF, const torch::Tensor& up_BLF) {
  return torch::silu(gate_BLF) * up_BLF;
}

}  // namespace millrace
