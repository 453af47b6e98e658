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

  void lion() const {
    const Tensor direction = (s[0] * n.beta1 + g * n.one_minus_beta1).sign_();
    p.mul_(n.decay).sub_(direction, n.step_size);
    s[0].mul_(n.beta2).add_(g, n.one_minus_beta2);
  }
  void momentum_sgd() const {
    g.add_(p, n.weight_decay);
    s[0].mul_(n.beta1).add_(g, n.one_minus_beta1);
    p.sub_(g * n.grad_share + s[0] * n.state_share, n.step_size);
  }
  void plain_sgd() const { p.sub_(g + p * n.weight_decay, n.step_size); }
  void schedule_free() const {
    s[1].mul_(n.beta2).addcmul_(g, g, n.one_minus_beta2);
    const Tensor direction = (g / (s[1] / n.bias_correction2).sqrt_().add_(n.eps)).add_(p, n.weight_decay);
    p.add_(s[0] - p, n.mix).add_(direction, n.lookahead);
    s[0].sub_(direction, n.step_size);
  }
  void schedule_free_step() const {
    const Tensor direction = g.add_(p, n.weight_decay);
    p.add_(s[0] - p, n.mix).add_(direction, n.lookahead);
    s[0].sub_(direction, n.step_size);
  }
  void scaled_moments() const {
    g.add_(p, n.weight_decay);
    s[0].mul_(n.beta1).add_(g, n.one_minus_beta1);
    s[1].mul_(n.beta2).addcmul_(g, g, n.one_minus_beta2);
  }
  void prodigy_moments() const {
    scaled_moments();
    s[2].mul_(n.beta3).add_(g, n.grad_share);
    sums[0] += (g.to(torch::kFloat64) * (s[3] - p)).sum();
    sums[1] += s[2].to(torch::kFloat64).abs().sum();
  }
  void prodigy_step() const { p.mul_(n.decay).addcdiv_(s[0], s[1].sqrt().add_(n.eps), -n.step_size); }

  // sqrt(v) + eps
  Tensor scale_of(const Tensor& v) const { return v.sqrt().add_(n.eps); }
  static Tensor total(const Tensor& x) { return x.to(torch::kFloat64).sum(); }
  void add_sums(const Tensor& step, const Tensor& average, const Tensor& scale) const {
    sums[0] += total(step * step / scale);
    sums[1] += total(average.abs());
    sums[2] += total(average * average / scale);
  }
  void dadapt_adam_moments() const {
    const Tensor before = s[2] / scale_of(s[1]);
    scaled_moments();
    sums[0] += total(g * before);
    s[2].mul_(n.beta3).add_(g, n.grad_share);
    sums[1] += total(s[2].abs());
  }
  void dadapt_preprint_moments() const {
    scaled_moments();
    s[2].mul_(n.beta3).add_(g, n.grad_share);
    add_sums(g, s[2], scale_of(s[1]));
  }
  void dadapt_lion_moments() const {
    const Tensor direction = (s[1] * n.beta1 + g * n.one_minus_beta1).sign_();
    sums[0] += total(direction * s[0]);
    s[0].mul_(n.beta3).add_(direction, n.grad_share);
    sums[1] += total(s[0].abs());
  }
  void dadapt_sgd_moments() const {
    g.add_(p, n.weight_decay);
    sums[0] += total(g * s[0]);
    s[0].add_(g, n.grad_share);
    sums[1] += total(s[0].square());
  }
  void dadapt_adagrad_moments() const {
    g.add_(p, n.weight_decay);
    s[1].addcmul_(g, g);
    s[0].add_(g, n.grad_share);
    add_sums(g, s[0], scale_of(s[1]));
  }
  void adan_averages() const {
    const Tensor change = (g - s[4]) * n.state_share, ahead = g + change * n.beta2;
    s[0].mul_(n.beta1).add_(g, n.one_minus_beta1);
    s[1].mul_(n.beta2).add_(change, n.one_minus_beta2);
    s[2].mul_(n.beta3).addcmul_(ahead, ahead, n.one_minus_beta3);
    s[3].mul_(n.beta3).add_(g, n.grad_share);
    s[4].copy_(g);
  }
  void dadapt_adan_moments() const {
    adan_averages();
    add_sums(g, s[3], scale_of(s[2]));
  }
  void dadapt_adan_ip_moments() const {
    sums[0] += total(g * s[3] / scale_of(s[2]));
    adan_averages();
    sums[1] += total(s[3].abs());
  }
  void adan_step() const { p.mul_(n.decay).addcdiv_(s[0] + s[1] * n.beta2, scale_of(s[2]), -n.step_size); }
  void dual_averaging_step() const { p.mul_(n.state_share).add_(s[1] - s[0], n.grad_share); }
  void dual_averaging_scaled_step() const { p.mul_(n.state_share).add_(s[1] - s[0] / scale_of(s[2]), n.grad_share); }

  void take(FlatRule rule) const {
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
      case FlatRule::kDAdaptAdamMoments:
        return dadapt_adam_moments();
      case FlatRule::kDAdaptPreprintMoments:
        return dadapt_preprint_moments();
      case FlatRule::kDAdaptLionMoments:
        return dadapt_lion_moments();
      case FlatRule::kDAdaptSgdMoments:
        return dadapt_sgd_moments();
      case FlatRule::kDAdaptAdaGradMoments:
        return dadapt_adagrad_moments();
      case FlatRule::kDAdaptAdanMoments:
        return dadapt_adan_moments();
      case FlatRule::kDAdaptAdanIpMoments:
        return dadapt_adan_ip_moments();
      case FlatRule::kAdanStep:
        return adan_step();
      case FlatRule::kDualAveragingStep:
        return dual_averaging_step();
      case FlatRule::kDualAveragingScaledStep:
        return dual_averaging_scaled_step();
    }
  }
};

}  // namespace

void flat_update_reference(FlatRule rule, const FlatUpdateNumbers& numbers, const FlatUpdateBuffers& buffers,
                           const FlatUpdateOptions& options, const Tensor& clip_coefficient, const Tensor& sums_3) {
  const torch::NoGradGuard no_grad;
  MILLRACE_CHECK(!options.stochastic_rounding || buffers.param.scalar_type() == torch::kFloat32);
  const Step step{numbers, to_fp32(buffers.param), to_fp32(buffers.grad), buffers.states, sums_3};
  if (clip_coefficient.defined()) step.g.mul_(clip_coefficient);
  step.take(rule);
  if (!writes_weights(rule)) return;
  buffers.param.copy_(step.p);
  if (buffers.model_copy.defined()) buffers.model_copy.copy_(buffers.param);
  if (buffers.average.defined()) buffers.average.lerp_(to_fp32(buffers.param), 1 - options.average_decay);
  buffers.grad.zero_();
}

}  // namespace millrace
