#include "base/error.h"
#include "kernels/flat_update/flat_update.h"

namespace millrace {
namespace {

using torch::Tensor;

Tensor to_fp32(const Tensor& x) {
  return x.to(torch::kFloat32, /*non_blocking=*/false, /*copy=*/true);
}

struct Step {
  const FlatUpdateNumbers& n;
  Tensor p, g;  // fp32 copies
  const std::vector<Tensor>& s;
  const Tensor& sums;

  bool lion() const {
    const Tensor direction = (s[0] * n.beta1 + g * n.one_minus_beta1).sign_();
    p.mul_(n.decay).sub_(direction, n.step_size);
    s[0].mul_(n.beta2).add_(g, n.one_minus_beta2);
    return true;
  }
  bool momentum_sgd() const {
    g.add_(p, n.weight_decay);
    s[0].mul_(n.beta1).add_(g, n.one_minus_beta1);
    p.sub_(g * n.grad_share + s[0] * n.state_share, n.step_size);
    return true;
  }
  bool plain_sgd() const {
    p.sub_(g + p * n.weight_decay, n.step_size);
    return true;
  }
  bool schedule_free() const {
    s[1].mul_(n.beta2).addcmul_(g, g, n.one_minus_beta2);
    const Tensor direction = (g / (s[1] / n.bias_correction2).sqrt_().add_(n.eps)).add_(p, n.weight_decay);
    p.add_(s[0] - p, n.mix).add_(direction, n.lookahead);
    s[0].sub_(direction, n.step_size);
    return true;
  }
  bool schedule_free_step() const {
    const Tensor direction = g.add_(p, n.weight_decay);
    p.add_(s[0] - p, n.mix).add_(direction, n.lookahead);
    s[0].sub_(direction, n.step_size);
    return true;
  }
  bool scaled_moments() const {
    g.add_(p, n.weight_decay);
    s[0].mul_(n.beta1).add_(g, n.one_minus_beta1);
    s[1].mul_(n.beta2).addcmul_(g, g, n.one_minus_beta2);
    return false;
  }
  bool prodigy_moments() const {
    scaled_moments();
    s[2].mul_(n.beta3).add_(g, n.grad_share);
    sums[0] += (g.to(torch::kFloat64) * (s[3] - p)).sum();
    sums[1] += s[2].to(torch::kFloat64).abs().sum();
    return false;
  }
  bool prodigy_step() const {
    p.mul_(n.decay).addcdiv_(s[0], s[1].sqrt().add_(n.eps), -n.step_size);
    return true;
  }

  // Whether it changes the weights.
  bool take(FlatRule rule) const {
    switch (rule) {
      case FlatRule::kLion:
        return lion();
      case FlatRule::kMomentumSgd:
        return momentum_sgd();
      case FlatRule::kPlainSgd:
        return plain_sgd();
      case FlatRule::kScheduleFree:
        return schedule_free();
      case FlatRule::kProdigyMoments:
        return prodigy_moments();
      case FlatRule::kScaledMoments:
        return scaled_moments();
      case FlatRule::kProdigyStep:
        return prodigy_step();
      case FlatRule::kScheduleFreeStep:
        return schedule_free_step();
    }
    return false;
  }
};

}  // namespace

void flat_update_reference(FlatRule rule, const FlatUpdateNumbers& numbers, const FlatUpdateBuffers& buffers,
                           const FlatUpdateOptions& options, const Tensor& clip_coefficient, const Tensor& sums_2) {
  const torch::NoGradGuard no_grad;
  MILLRACE_CHECK(!options.stochastic_rounding || buffers.param.scalar_type() == torch::kFloat32);
  const Step step{numbers, to_fp32(buffers.param), to_fp32(buffers.grad), buffers.states, sums_2};
  if (clip_coefficient.defined()) step.g.mul_(clip_coefficient);
  if (!step.take(rule)) return;
  buffers.param.copy_(step.p);
  if (buffers.model_copy.defined()) buffers.model_copy.copy_(buffers.param);
  if (buffers.average.defined()) buffers.average.lerp_(to_fp32(buffers.param), 1 - options.average_decay);
  buffers.grad.zero_();
}

}  // namespace millrace
