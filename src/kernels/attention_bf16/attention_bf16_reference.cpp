#include "kernels/attention_bf16/attention_bf16.h"

namespace millrace {

torch::Tensor attention_bf16_reference(const torch::Tensor& q_BHLD, const torch::Tensor& k_BHSD,
                                       const torch::Tensor& v_BHSD, const torch::Tensor& bias_HLS, double scale) {
  torch::Tensor scores_BHLS = at::matmul(q_BHLD, k_BHSD.transpose(-1, -2)) * scale;
  if (bias_HLS.defined()) scores_BHLS = scores_BHLS + bias_HLS;
  return at::matmul(at::softmax(scores_BHLS, -1), v_BHSD);
}

}  // namespace millrace
