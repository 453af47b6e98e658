// The formulas of the element-wise rules, once for CPUs and GPUs: V is a vector of floats or one float. Included by
// flat_update_isa.cpp and flat_update_cuda.cu after the definitions of MILLRACE_RULE (how functions are declared) and
// square_root(V).
//
// A rule defines its number of states, of which the first kWrittenStates change, whether it writes the weights, and
// apply(a, p, g, s, sums): p the weights, g the clipped gradient, s[i] the states, sums[i] its contribution to sums
// over all elements. A rule that writes the weights leaves zeros in the gradients.
#pragma once

#include "kernels/flat_update/flat_update_raw.h"

namespace millrace {
namespace {

template <typename V>
MILLRACE_RULE V sign_of(V x) {
  const V zero = x - x, one = zero + 1.0f;
  return x > zero ? one : (x < zero ? zero - one : zero);
}
template <typename V>
MILLRACE_RULE V magnitude_of(V x) {
  return x < x - x ? -x : x;
}

// Evolved sign momentum (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms"), in lion-pytorch's order.
struct LionRule {
  static constexpr int kStates = 1, kWrittenStates = 1, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* /*sums*/) {
    const V direction = sign_of(s[0] * a.beta1 + g * a.one_minus_beta1);
    p = p * a.decay - a.step_size * direction;
    s[0] = s[0] * a.beta2 + g * a.one_minus_beta2;
  }
};

// torch.optim.SGD with momentum: beta1 is the momentum, one_minus_beta1 the gradient's share of it (1 - dampening,
// and 1 in the first step). The update is grad_share * g + state_share * momentum: Nesterov's looks ahead.
struct MomentumSgdRule {
  static constexpr int kStates = 1, kWrittenStates = 1, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* /*sums*/) {
    g = g + a.weight_decay * p;
    s[0] = s[0] * a.beta1 + g * a.one_minus_beta1;
    p = p - a.step_size * (a.grad_share * g + a.state_share * s[0]);
  }
};

struct PlainSgdRule {
  static constexpr int kStates = 0, kWrittenStates = 0, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* /*s*/, V* /*sums*/) {
    p = p - a.step_size * (g + a.weight_decay * p);
  }
};

// Schedule-free AdamW (Defazio et al. 2024, "The Road Less Scheduled"), in schedulefree's order. p is y, the point
// where gradients are taken; s[0] is z, s[1] the squared average.
struct ScheduleFreeRule {
  static constexpr int kStates = 2, kWrittenStates = 2, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* /*sums*/) {
    s[1] = s[1] * a.beta2 + a.one_minus_beta2 * g * g;
    const V direction = g / (square_root(s[1] / a.bias_correction2) + a.eps) + a.weight_decay * p;
    p = p + a.mix * (s[0] - p);
    p = p + a.lookahead * direction;
    s[0] = s[0] - a.step_size * direction;
  }
};

// The same for a direction that is already known: g is the step, s[0] is z.
struct ScheduleFreeStepRule {
  static constexpr int kStates = 1, kWrittenStates = 1, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* /*sums*/) {
    const V direction = g + a.weight_decay * p;
    p = p + a.mix * (s[0] - p);
    p = p + a.lookahead * direction;
    s[0] = s[0] - a.step_size * direction;
  }
};

// Prodigy (Mishchenko and Defazio 2023), the half before d is known: s = { m, v, s, p0 }. one_minus_beta1 includes the
// factor d, one_minus_beta2 d^2; grad_share is the gradient's share of s. Sums: <g, p0 - p> and |s|.
struct ProdigyMomentsRule {
  static constexpr int kStates = 4, kWrittenStates = 3, kSums = 2;
  static constexpr bool kWritesParam = false, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* sums) {
    g = g + a.weight_decay * p;
    sums[0] = g * (s[3] - p);
    s[0] = s[0] * a.beta1 + a.one_minus_beta1 * g;
    s[1] = s[1] * a.beta2 + a.one_minus_beta2 * g * g;
    s[2] = s[2] * a.beta3 + a.grad_share * g;
    sums[1] = magnitude_of(s[2]);
  }
};

// The same without the estimate of d, for weights of which only every n-th takes part in the estimate.
struct ScaledMomentsRule {
  static constexpr int kStates = 2, kWrittenStates = 2, kSums = 0;
  static constexpr bool kWritesParam = false, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* /*sums*/) {
    g = g + a.weight_decay * p;
    s[0] = s[0] * a.beta1 + a.one_minus_beta1 * g;
    s[1] = s[1] * a.beta2 + a.one_minus_beta2 * g * g;
  }
};

// The other half: step_size is the previous d * lr, eps includes the new d.
struct ProdigyStepRule {
  static constexpr int kStates = 2, kWrittenStates = 0, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = false;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V /*g*/, V* s, V* /*sums*/) {
    p = p * a.decay;
    p = p - a.step_size * s[0] / (square_root(s[1]) + a.eps);
  }
};

// D-Adaptation's Adam (Defazio and Mishchenko 2023, "Learning-Rate-Free Learning by D-Adaptation"), the half before d
// is known. one_minus_beta1 and grad_share include the previous d * lr; beta3 is the decay of s.
struct DAdaptAdamMomentsRule {
  static constexpr int kStates = 3, kWrittenStates = 3, kSums = 2;
  static constexpr bool kWritesParam = false, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* sums) {
    g = g + a.weight_decay * p;
    sums[0] = g * s[2] / (square_root(s[1]) + a.eps);
    s[0] = s[0] * a.beta1 + a.one_minus_beta1 * g;
    s[1] = s[1] * a.beta2 + a.one_minus_beta2 * g * g;
    s[2] = s[2] * a.beta3 + a.grad_share * g;
    sums[1] = magnitude_of(s[2]);
  }
};

// The same with the estimate of the paper's first version.
struct DAdaptPreprintMomentsRule {
  static constexpr int kStates = 3, kWrittenStates = 3, kSums = 3;
  static constexpr bool kWritesParam = false, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* sums) {
    g = g + a.weight_decay * p;
    s[0] = s[0] * a.beta1 + a.one_minus_beta1 * g;
    s[1] = s[1] * a.beta2 + a.one_minus_beta2 * g * g;
    s[2] = s[2] * a.beta3 + a.grad_share * g;
    const V scale = square_root(s[1]) + a.eps;
    sums[0] = g * g / scale;
    sums[1] = magnitude_of(s[2]);
    sums[2] = s[2] * s[2] / scale;
  }
};

// D-Adaptation's Lion: LionRule then takes the step and updates m, which is s[1] here.
struct DAdaptLionMomentsRule {
  static constexpr int kStates = 2, kWrittenStates = 1, kSums = 2;
  static constexpr bool kWritesParam = false, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& /*p*/, V g, V* s, V* sums) {
    const V direction = sign_of(s[1] * a.beta1 + g * a.one_minus_beta1);
    sums[0] = direction * s[0];
    s[0] = s[0] * a.beta3 + a.grad_share * direction;
    sums[1] = magnitude_of(s[0]);
  }
};

struct DAdaptSgdMomentsRule {
  static constexpr int kStates = 1, kWrittenStates = 1, kSums = 2;
  static constexpr bool kWritesParam = false, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* sums) {
    g = g + a.weight_decay * p;
    sums[0] = g * s[0];
    s[0] = s[0] + a.grad_share * g;
    sums[1] = s[0] * s[0];
  }
};

struct DAdaptAdaGradMomentsRule {
  static constexpr int kStates = 2, kWrittenStates = 2, kSums = 3;
  static constexpr bool kWritesParam = false, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V g, V* s, V* sums) {
    g = g + a.weight_decay * p;
    s[1] = s[1] + g * g;
    s[0] = s[0] + a.grad_share * g;
    const V scale = square_root(s[1]) + a.eps;
    sums[0] = g * g / scale;
    sums[1] = magnitude_of(s[0]);
    sums[2] = s[0] * s[0] / scale;
  }
};

// Adan (Xie et al. 2022, "Adaptive Nesterov Momentum Algorithm"): the averages of the gradient, of its change and of
// their squared sum, from which sqrt(v) scales the step. state_share is 0 where there is no previous gradient, else 1.
// one_minus_beta1, one_minus_beta2 and grad_share include d * lr.
template <typename V>
MILLRACE_RULE void update_adan_averages(const FlatUpdateArgs& a, V g, V* s) {
  const V change = (g - s[4]) * a.state_share;
  const V ahead = g + a.beta2 * change;
  s[0] = s[0] * a.beta1 + a.one_minus_beta1 * g;
  s[1] = s[1] * a.beta2 + a.one_minus_beta2 * change;
  s[2] = s[2] * a.beta3 + a.one_minus_beta3 * ahead * ahead;
  s[3] = s[3] * a.beta3 + a.grad_share * g;
  s[4] = g;
}

struct DAdaptAdanMomentsRule {
  static constexpr int kStates = 5, kWrittenStates = 5, kSums = 3;
  static constexpr bool kWritesParam = false, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& /*p*/, V g, V* s, V* sums) {
    update_adan_averages(a, g, s);
    const V scale = square_root(s[2]) + a.eps;
    sums[0] = g * g / scale;
    sums[1] = magnitude_of(s[3]);
    sums[2] = s[3] * s[3] / scale;
  }
};

struct DAdaptAdanIpMomentsRule {
  static constexpr int kStates = 5, kWrittenStates = 5, kSums = 2;
  static constexpr bool kWritesParam = false, kReadsGrad = true;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& /*p*/, V g, V* s, V* sums) {
    sums[0] = g * s[3] / (square_root(s[2]) + a.eps);
    update_adan_averages(a, g, s);
    sums[1] = magnitude_of(s[3]);
  }
};

struct AdanStepRule {
  static constexpr int kStates = 3, kWrittenStates = 0, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = false;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V /*g*/, V* s, V* /*sums*/) {
    p = p * a.decay - a.step_size * (s[0] + a.beta2 * s[1]) / (square_root(s[2]) + a.eps);
  }
};

// Dual averaging: towards p0 - s, of which grad_share is taken, state_share of the weights is kept.
struct DualAveragingStepRule {
  static constexpr int kStates = 2, kWrittenStates = 0, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = false;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V /*g*/, V* s, V* /*sums*/) {
    p = a.state_share * p + a.grad_share * (s[1] - s[0]);
  }
};

struct DualAveragingScaledStepRule {
  static constexpr int kStates = 3, kWrittenStates = 0, kSums = 0;
  static constexpr bool kWritesParam = true, kReadsGrad = false;
  template <typename V>
  MILLRACE_RULE static void apply(const FlatUpdateArgs& a, V& p, V /*g*/, V* s, V* /*sums*/) {
    p = a.state_share * p + a.grad_share * (s[1] - s[0] / (square_root(s[2]) + a.eps));
  }
};

}  // namespace
}  // namespace millrace
