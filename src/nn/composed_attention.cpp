#include "nn/composed_attention.h"

#include <cmath>
#include <limits>

namespace millrace {
namespace {

torch::Tensor wide(const torch::Tensor& x) {
  return x.scalar_type() == torch::kFloat64 ? x : x.to(torch::kFloat32);
}

double scale_of(const torch::Tensor& q_1HQD) {
  return 1 / std::sqrt(static_cast<double>(q_1HQD.size(3)));
}

torch::Tensor scores_of(const torch::Tensor& q_1HQD, const torch::Tensor& k_1HCD, bool causal,
                        const torch::Tensor& mask_QC) {
  torch::Tensor scores_1HQC = at::matmul(q_1HQD * scale_of(q_1HQD), k_1HCD.transpose(2, 3));
  if (causal) {
    const auto flags = torch::TensorOptions(q_1HQD.device()).dtype(torch::kBool);
    const torch::Tensor hidden_QC = torch::ones({q_1HQD.size(2), k_1HCD.size(2)}, flags).triu_(1);
    scores_1HQC.masked_fill_(hidden_QC, -std::numeric_limits<double>::infinity());
  }
  if (mask_QC.defined()) scores_1HQC.add_(mask_QC);
  return scores_1HQC;
}

}  // namespace

std::tuple<torch::Tensor, torch::Tensor> composed_attention_forward(const torch::Tensor& q_1HQD,
                                                                    const torch::Tensor& k_1HCD,
                                                                    const torch::Tensor& v_1HCD, bool causal,
                                                                    const torch::Tensor& mask_QC) {
  const torch::NoGradGuard no_grad;
  torch::Tensor p_1HQC = scores_of(wide(q_1HQD), wide(k_1HCD), causal, mask_QC);
  const torch::Tensor logsumexp_1HQ = at::logsumexp(p_1HQC, 3);
  p_1HQC.sub_(logsumexp_1HQ.unsqueeze(3)).exp_();
  return {at::matmul(p_1HQC, wide(v_1HCD)).to(q_1HQD.scalar_type()), logsumexp_1HQ};
}

// With P the softmax of the scores S: dV = P^T dO, dP = dO V^T, dS = P * (dP - sum over a row of dO * O).
std::tuple<torch::Tensor, torch::Tensor, torch::Tensor> composed_attention_backward(
    const torch::Tensor& dout_1HQD, const torch::Tensor& q_1HQD, const torch::Tensor& k_1HCD,
    const torch::Tensor& v_1HCD, const torch::Tensor& out_1HQD, const torch::Tensor& logsumexp_1HQ, bool causal,
    const torch::Tensor& mask_QC) {
  const torch::NoGradGuard no_grad;
  const torch::Tensor q = wide(q_1HQD), k = wide(k_1HCD), dout = wide(dout_1HQD);
  torch::Tensor p_1HQC = scores_of(q, k, causal, mask_QC).sub_(logsumexp_1HQ.unsqueeze(3)).exp_();
  const torch::Tensor dv = at::matmul(p_1HQC.transpose(2, 3), dout);
  torch::Tensor dscores_1HQC = at::matmul(dout, wide(v_1HCD).transpose(2, 3));
  dscores_1HQC.sub_((dout * wide(out_1HQD)).sum(3, /*keepdim=*/true)).mul_(p_1HQC).mul_(scale_of(q));
  const auto as = [](const torch::Tensor& x, const torch::Tensor& like) { return x.to(like.scalar_type()); };
  return {as(at::matmul(dscores_1HQC, k), q_1HQD), as(at::matmul(dscores_1HQC.transpose(2, 3), q), k_1HCD),
          as(dv, v_1HCD)};
}

}  // namespace millrace
