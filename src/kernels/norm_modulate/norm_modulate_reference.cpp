#include "kernels/norm_modulate/norm_modulate.h"

namespace millrace {

torch::Tensor norm_modulate_reference(const torch::Tensor& x_BLD, const torch::Tensor& shift_BD,
                                      const torch::Tensor& scale_BD, double eps) {
  const torch::Tensor normed_BLD = torch::layer_norm(x_BLD, {x_BLD.size(-1)}, {}, {}, eps);
  return (1 + scale_BD.to(x_BLD.dtype())).unsqueeze(1) * normed_BLD + shift_BD.to(x_BLD.dtype()).unsqueeze(1);
}

}  // namespace millrace
